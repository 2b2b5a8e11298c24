//! The members as the claim sees them: numbers instead of names, grouped by zone, with how
//! many copies of one partition each zone may hold.
//!
//! With at least N zones a zone holds at most one copy of a partition. With fewer, the copies
//! go round the zones as evenly as the zones' sizes allow: `most` is `min(nodes, L)` for the
//! smallest level L at which all zones together have room for N, `least` is
//! `min(nodes, L - 1)`. So every zone holds a copy of every partition, and `most - least` is
//! 0 or 1.

use std::collections::BTreeMap;

use crate::node::{Node, NodeState};
use crate::partition::{PartitionCount, ReplicationFactor};

/// The nodes that take vnodes, by zone; draining nodes are counted and nothing else.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Q.
    pub(crate) partitions: usize,
    /// N.
    pub(crate) replicas: usize,
    /// By node: its zone. `None` if it drains.
    pub(crate) zone_of: Vec<Option<usize>>,
    /// By node: its capacity.
    pub(crate) capacity: Vec<u32>,
    /// The zones with active nodes, ascending by name.
    pub(crate) zones: Vec<ZoneLayout>,
}

/// One zone.
#[derive(Debug)]
pub(crate) struct ZoneLayout {
    /// Its active nodes, ascending.
    pub(crate) members: Vec<usize>,
    /// The fewest copies of one partition that it may hold.
    pub(crate) least: usize,
    /// The most copies of one partition that it may hold.
    pub(crate) most: usize,
}

impl Layout {
    /// The layout of these nodes; `Err` with the number of active ones if fewer than N.
    pub(crate) fn new(
        nodes: &[Node],
        partitions: PartitionCount,
        replication_factor: ReplicationFactor,
    ) -> Result<Self, usize> {
        let replicas = replication_factor.len();
        let mut by_zone: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, node) in nodes.iter().enumerate() {
            if node.state == NodeState::Active {
                by_zone.entry(&node.zone.0).or_default().push(at);
            }
        }
        let active = by_zone.values().map(Vec::len).sum();
        if active < replicas {
            return Err(active);
        }
        let room = |level| {
            by_zone
                .values()
                .map(|members| members.len().min(level))
                .sum::<usize>()
        };
        let level = (1..=replicas)
            .find(|level| room(*level) >= replicas)
            .unwrap_or(replicas);
        let mut zone_of = vec![None; nodes.len()];
        let mut zones = Vec::with_capacity(by_zone.len());
        for members in by_zone.into_values() {
            for member in &members {
                zone_of[*member] = Some(zones.len());
            }
            let (least, most) = (members.len().min(level - 1), members.len().min(level));
            zones.push(ZoneLayout {
                members,
                least,
                most,
            });
        }
        let capacity = nodes.iter().map(|node| node.capacity.get()).collect();
        Ok(Self {
            partitions: partitions.len(),
            replicas,
            zone_of,
            capacity,
            zones,
        })
    }
}
