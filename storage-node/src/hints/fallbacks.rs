//! Who stands in for an owner that is away: pure.
//!
//! All coordinators go through the same nodes in the same order, so that few nodes hold hints for one
//! target, and each partition begins elsewhere, so that they are not always the same few.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use annulus_ring::{NodeIndex, NodeState, PartitionId, Placement, Zone};

/// The nodes that may keep a write of the partition for an owner, and hold no copy of it, best first: in zones that have no owner
/// of it, then in other zones than the owner's own, which may be what has failed, then the rest.
pub(crate) fn fallbacks(
    placement: &Placement,
    partition: PartitionId,
    owner: NodeIndex,
) -> Vec<NodeIndex> {
    let owners: Vec<NodeIndex> = placement.holders(partition).collect();
    let zone = |node: NodeIndex| &placement.node(node).zone;
    let taken: BTreeSet<&Zone> = owners.iter().map(|owner| zone(*owner)).collect();
    let count = placement.nodes().len();
    let begin = usize::from(partition.0) % count.max(1);
    let mut others: Vec<NodeIndex> = placement.node_indexes().collect();
    others.rotate_left(begin);
    others
        .retain(|node| !owners.contains(node) && placement.node(*node).state == NodeState::Active);
    others.sort_by_key(|node| {
        let (free, elsewhere) = (!taken.contains(zone(*node)), zone(*node) != zone(owner));
        Reverse((free, elsewhere))
    });
    others
}

#[cfg(test)]
mod tests {
    use annulus_ring::PlacementDocument;

    use super::*;
    use crate::placement::tests::document_of;

    fn placement(zones: &[&str]) -> Placement {
        let mut document: PlacementDocument = document_of(u16::try_from(zones.len()).unwrap(), 1);
        for (node, zone) in document.nodes.iter_mut().zip(zones) {
            node.zone = Zone::from(*zone);
        }
        document.fingerprint = None;
        document.try_into().unwrap()
    }

    #[test]
    fn owners_do_not_stand_in_and_every_other_node_does() {
        let placement = placement(&["a"; 6]);
        for partition in placement.partitions().ids() {
            let owners = placement.owners(partition);
            let mut found = fallbacks(&placement, partition, owners[0]);
            assert!(found.iter().all(|node| !owners.contains(node)));
            found.sort();
            found.dedup();
            assert_eq!(found.len(), 6 - owners.len());
        }
    }

    #[test]
    fn a_zone_without_an_owner_comes_first_and_the_owner_s_own_last() {
        let placement = placement(&["a", "b", "c", "a", "b", "c", "d"]);
        for partition in placement.partitions().ids() {
            let owner = placement.owners(partition)[0];
            let zones: Vec<_> = fallbacks(&placement, partition, owner)
                .into_iter()
                .map(|node| placement.node(node).zone.clone())
                .collect();
            let taken: Vec<_> = placement
                .owners(partition)
                .iter()
                .map(|o| &placement.node(*o).zone)
                .collect();
            let rank = |zone: &Zone| (!taken.contains(&zone), *zone != placement.node(owner).zone);
            assert!(
                zones
                    .windows(2)
                    .all(|pair| rank(&pair[0]) >= rank(&pair[1])),
                "{zones:?}"
            );
        }
    }

    #[test]
    fn partitions_begin_at_different_nodes() {
        let placement = placement(&["a"; 12]);
        let firsts: BTreeSet<_> = placement
            .partitions()
            .ids()
            .map(|partition| fallbacks(&placement, partition, placement.owners(partition)[0])[0])
            .collect();
        assert!(firsts.len() > 3, "{firsts:?}");
    }
}
