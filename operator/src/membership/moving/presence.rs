//! Who of the members is there, missing, or lost its disk.

use annulus_ring::{Node, NodeId};

use crate::membership::view::Observed;

/// What is known of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It answers.
    Present,
    /// It does not answer; its disk is where it was, as far as is known.
    Silent,
    /// Its disk is not there any more: its claim is gone, or is another, or another disk answers
    /// in its place.
    DiskLost,
}

/// Looks a member up.
pub(super) fn presence(member: &Node, observed: &Observed) -> Presence {
    if is_displaced(member) {
        return Presence::DiskLost;
    }
    let Some(node) = observed.nodes.get(&member.name) else {
        return Presence::Silent;
    };
    match &node.report {
        Some(report) if report.id == member.id => Presence::Present,
        Some(_) => Presence::DiskLost,
        None if node.recorded.is_some_and(|id| id != member.id) => Presence::DiskLost,
        None if node.recorded.is_some() && node.claim_changed => Presence::DiskLost,
        None => Presence::Silent,
    }
}

/// Whether the member's name was given to the node that replaces it: the placement itself says
/// so, and only a begun replacement does that.
pub(super) fn is_displaced(member: &Node) -> bool {
    member.name == member.id.to_string()
}

/// The member, renamed to make room for the node that replaces it.
pub(super) fn displaced(member: &Node) -> Node {
    Node {
        name: displaced_name(member.id),
        ..member.clone()
    }
}

fn displaced_name(id: NodeId) -> String {
    id.to_string()
}
