//! What a set of absent nodes would cost.

use crate::node::NodeId;
use crate::partition::PartitionId;
use crate::placement::Placement;

/// The partitions with fewer than `needed` owners left when the `absent` nodes are gone,
/// ascending: asked before a node is taken away. During a move, each set of owners that writes
/// need counts. Ids that are no members count for nothing.
pub fn partitions_below<'a>(
    placement: &'a Placement,
    absent: &[NodeId],
    needed: usize,
) -> impl Iterator<Item = PartitionId> + use<'a> {
    let mut present = vec![true; placement.nodes().len()];
    for index in absent.iter().filter_map(|id| placement.index_of(*id)) {
        present[index.at()] = false;
    }
    placement.partitions().ids().filter(move |partition| {
        let mut sets = placement.write_sets(*partition).iter();
        sets.any(|owners| owners.iter().filter(|owner| present[owner.at()]).count() < needed)
    })
}
