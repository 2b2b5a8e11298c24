//! I18: the stored hash tree is that of the stored data, after any crash.

use annulus_node::simulation::SimNode;

use crate::broken::Broken;

/// Recomputes every tree on a node's platter.
#[allow(
    dead_code,
    reason = "tests/turmoil shares this folder and watches the other invariants"
)]
pub(crate) fn check(node: &SimNode) -> Result<(), Broken> {
    let (_, put_right) = node.scrubbed();
    if put_right > 0 {
        let what = format!("{}: a scrub put {put_right} sums right", node.name());
        return Err(Broken::new("I18 the tree is that of the data", what));
    }
    let wrong = node.disk().wrong_sums();
    if wrong.is_empty() {
        return Ok(());
    }
    let what = format!("{}: {}", node.name(), wrong.join("; "));
    Err(Broken::new("I18 the tree is that of the data", what))
}
