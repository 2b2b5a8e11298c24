//! I3: a key's clock on a node never shrinks while the node runs.

use annulus_node::simulation::Wrote;

use crate::broken::Broken;

pub(super) struct ClocksNeverShrink;

impl ClocksNeverShrink {
    pub(super) fn wrote(wrote: &Wrote<'_>) -> Result<(), Broken> {
        match wrote.before {
            Some(before) if !wrote.after.clock().descends(before.clock()) => {
                let what = format!(
                    "{} forgets: {before:?} became {:?}",
                    wrote.node, wrote.after
                );
                Err(Broken::new("I3 clocks never shrink", what).about(wrote.stored_key))
            }
            _ => Ok(()),
        }
    }
}
