//! I7, for hints: no hint is taken that is older than its time to live, by its receiver's own clock. What
//! deleted it may be forgotten by then.

use std::time::Duration;

use annulus_node::simulation::HintTaken;

use crate::broken::Broken;

pub(super) fn taken(taken: &HintTaken, ttl: Duration) -> Result<(), Broken> {
    if u128::from(taken.age_ms) <= ttl.as_millis() {
        return Ok(());
    }
    let HintTaken { node, age_ms } = taken;
    let what = format!("{node} took a hint that was {age_ms} ms old; hints live for {ttl:?}");
    Err(Broken::new("I7 hints have an age", what))
}
