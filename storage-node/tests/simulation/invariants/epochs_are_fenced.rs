//! I12: a replica never answers a request under another epoch than its own, even if it was
//! admitted before the epoch changed.

use annulus_node::simulation::Served;

use crate::broken::Broken;

pub(super) fn served(served: &Served) -> Result<(), Broken> {
    if served.held == Some(served.asked_under) {
        return Ok(());
    }
    let Served {
        node,
        asked_under,
        held,
        ..
    } = served;
    let what = format!("{node} answers under epoch {asked_under}, and holds {held:?}");
    Err(Broken::new("I12 epochs are fenced", what))
}
