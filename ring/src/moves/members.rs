//! The members on the way to those desired.

use std::collections::BTreeSet;

use super::change::Change;
use crate::node::{Node, NodeState};
use crate::placement::Placement;

/// The members of the next epoch, if they change: the desired ones, and those of the current that
/// something still names, draining. Such a one whose name a desired node has by now (a disk was
/// wiped under it) goes by its id.
pub(crate) fn members(placement: &Placement, desired: &[Node]) -> Option<Change> {
    let mut nodes = desired.to_vec();
    let names: BTreeSet<&str> = desired.iter().map(|node| node.name.as_str()).collect();
    for index in placement.node_indexes() {
        let node = placement.node(index);
        let leaves = desired.iter().all(|other| other.id != node.id);
        if leaves && !placement.is_unused(index) {
            let mut node = node.clone();
            node.state = NodeState::Draining;
            if names.contains(node.name.as_str()) {
                node.name = node.id.to_string();
            }
            nodes.push(node);
        }
    }
    nodes.sort_by_key(|node| node.id);
    (nodes != placement.nodes()).then_some(Change::Members(nodes))
}
