//! I10: a vnode that can't prove its data answers unavailable, never "not found".

use annulus_node::simulation::{Answered, Served};

use crate::broken::Broken;

pub(super) fn served(served: &Served) -> Result<(), Broken> {
    // A write may have found another owner. A record that was read before the damage may be answered
    // after it: only requests that came later are judged.
    if !served.is_damaged || served.answer == Answered::Written {
        return Ok(());
    }
    let what = format!(
        "{}'s record is damaged, and it answers {:?}",
        served.node, served.answer
    );
    Err(Broken::new("I10 damage is unavailable", what))
}
