//! Fallbacks: who stands in for owners that are down.
//!
//! A preference list is the partition's owners, then its fallbacks: first the nodes of zones
//! that hold no owner, then the others. Where a partition's walk begins, and its stride,
//! follow from the partition's number, so the stand-in work of a lost node fans out over all.
//! Draining nodes are no fallbacks: they give data away and take none.

use xxhash_rust::xxh3::xxh3_64;

use crate::node::{NodeIndex, NodeState, Zone};
use crate::partition::PartitionId;
use crate::placement::Placement;

/// The stand-ins of one partition in order of preference, worked out as they are asked for
/// and without allocation. Made by [`Placement::fallbacks`].
#[derive(Clone, Debug)]
pub struct Fallbacks<'a> {
    placement: &'a Placement,
    partition: PartitionId,
    start: usize,
    stride: usize,
    /// Steps done, of two rounds through the nodes: new zones, then the others.
    step: usize,
}

impl Placement {
    /// The active nodes that do not hold the partition, nodes of zones without an owner
    /// first, in an order that is the same everywhere at one epoch.
    pub fn fallbacks(&self, partition: PartitionId) -> Fallbacks<'_> {
        let count = self.nodes().len();
        let hash = xxh3_64(&partition.0.to_le_bytes());
        let below = |bits: u64| usize::try_from(bits % count as u64).expect("below 1024");
        let mut stride = below(hash >> 32).max(1);
        while greatest_common_divisor(stride, count) != 1 {
            stride += 1;
        }
        let start = below(hash & u64::from(u32::MAX));
        Fallbacks {
            placement: self,
            partition,
            start,
            stride,
            step: 0,
        }
    }
}

impl Fallbacks<'_> {
    fn zone_has_owner(&self, zone: &Zone) -> bool {
        self.placement
            .owners(self.partition)
            .iter()
            .any(|owner| self.placement.node(*owner).zone == *zone)
    }
}

impl Iterator for Fallbacks<'_> {
    type Item = NodeIndex;

    fn next(&mut self) -> Option<NodeIndex> {
        let count = self.placement.nodes().len();
        while self.step < 2 * count {
            let first_round = self.step < count;
            let index = NodeIndex::from_at((self.start + self.step * self.stride) % count);
            self.step += 1;
            let node = self.placement.node(index);
            if node.state == NodeState::Active
                && !self.placement.is_holder(self.partition, index)
                && self.zone_has_owner(&node.zone) != first_round
            {
                return Some(index);
            }
        }
        None
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}
