//! When a new member may be given vnodes.
//!
//! A node is a member first, without vnodes, for only members gossip. It gets vnodes when every
//! member that answers sees it, and it sees every one of them: a node that only some can reach
//! would count for quorums that the others cannot collect.

use annulus_ring::{Node, Placement};

use crate::membership::moving::presence::is_displaced;
use crate::membership::view::Observed;

/// Whether `joins` is seen by all live members and sees them; what is missing otherwise.
pub(super) fn passes(ring: &Placement, observed: &Observed, joins: &Node) -> Result<(), String> {
    let Some(newcomer) = observed.report_of(joins) else {
        return Err(format!("{} does not answer", joins.name));
    };
    let others = ring.nodes().iter();
    let others = others.filter(|node| node.id != joins.id && !is_displaced(node));
    for member in others {
        let Some(report) = observed.report_of(member) else {
            continue;
        };
        if !report.sees.contains(&joins.id) {
            return Err(format!("{} does not see {} yet", member.name, joins.name));
        }
        if !newcomer.sees.contains(&member.id) {
            return Err(format!("{} does not see {} yet", joins.name, member.name));
        }
    }
    Ok(())
}
