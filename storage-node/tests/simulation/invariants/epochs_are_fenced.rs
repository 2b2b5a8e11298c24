//! I12: a replica never answers a request that was made under another state of its partition than the one that it
//! holds, even if it was admitted before that changed.

use annulus_node::simulation::Served;

use crate::broken::Broken;

pub(super) fn served(served: &Served) -> Result<(), Broken> {
    if served.is_admitted {
        return Ok(());
    }
    let Served {
        node, asked_under, ..
    } = served;
    let what = format!("{node} answers under epoch {asked_under}, which it holds to be over");
    Err(Broken::new("I12 epochs are fenced", what))
}
