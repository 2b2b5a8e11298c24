//! I25: a node never accepts a lower epoch than it held; I16 and I24: what it holds of an epoch is what was
//! issued, whatever nodes tell each other.

use std::collections::HashMap;

use annulus_ring::{NodeId, Placement, RingEpoch};

use crate::broken::Broken;

#[derive(Debug, Default)]
pub(super) struct EpochsNeverFall {
    held: HashMap<NodeId, RingEpoch>,
}

impl EpochsNeverFall {
    /// A node was seen with a placement of that epoch.
    pub(super) fn holds(&mut self, node: NodeId, epoch: RingEpoch) -> Result<(), Broken> {
        let held = self.held.entry(node).or_insert(epoch);
        if epoch < *held {
            let what = format!("{node} holds epoch {epoch}, and held {held}");
            return Err(Broken::new("I25 epochs never fall", what));
        }
        *held = epoch;
        Ok(())
    }
}

/// What a node holds, and what was issued as that epoch.
pub(crate) fn is_as_issued(held: &Placement, issued: &Placement) -> Result<(), Broken> {
    if held.fingerprint() == issued.fingerprint() {
        return Ok(());
    }
    let (epoch, held, issued) = (held.epoch(), held.fingerprint(), issued.fingerprint());
    let what = format!("epoch {epoch} is {held:x}, and was issued as {issued:x}");
    Err(Broken::new("I16 one placement an epoch", what))
}
