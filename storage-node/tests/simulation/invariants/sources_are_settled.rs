//! I11, for what a move copies: a source gives nothing before it has settled what it was sent when the old owners alone
//! were sent all writes.

use annulus_node::simulation::Served;

use crate::broken::Broken;

pub(super) fn served(served: &Served) -> Result<(), Broken> {
    if served.is_settled {
        return Ok(());
    }
    let what = format!(
        "{} gives a page before its older writes are settled",
        served.node
    );
    Err(Broken::new("I11 barriers hold", what))
}
