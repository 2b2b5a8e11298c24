//! How much a plan copies, and how long that takes at least.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use super::change::PlannedMove;
use crate::node::NodeId;
use crate::partition::PartitionId;
use crate::placement::Placement;

/// What one node copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeLoad {
    /// Bytes that it receives.
    pub incoming: u64,
    /// Bytes that it sends.
    pub outgoing: u64,
}

/// What a plan costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// How many moves.
    pub moves: usize,
    /// Bytes that pass between nodes.
    pub bytes: u64,
    /// By node.
    pub per_node: BTreeMap<NodeId, NodeLoad>,
    /// How long the busiest node takes, in the direction in which it has most to do. Barriers,
    /// comparisons and giving way to clients come on top.
    pub duration: Duration,
}

/// What these moves cost, with so many bytes a partition and so many bytes a second for each node
/// and direction. A joining owner whose leaver is lost, or that has none, copies from `write_min`
/// short of all others, as [`Placement::sync_sources`] says; their sizes are taken to be equal.
pub fn estimate(
    placement: &Placement,
    moves: &[PlannedMove],
    bytes_of: impl Fn(PartitionId) -> u64,
    bytes_per_second: NonZeroU64,
    write_min: u8,
) -> Estimate {
    let mut estimate = Estimate {
        moves: moves.len(),
        ..Estimate::default()
    };
    for it in moves {
        // Without a joining owner copies are compared, and hardly anything is sent.
        let Some(add) = it.add else { continue };
        let bytes = bytes_of(it.partition);
        for source in sources(placement, it, write_min) {
            estimate.bytes += bytes;
            estimate.per_node.entry(add).or_default().incoming += bytes;
            estimate.per_node.entry(source).or_default().outgoing += bytes;
        }
    }
    let loads = estimate.per_node.values();
    let busiest = loads.map(|load| load.incoming.max(load.outgoing)).max();
    let seconds = busiest.unwrap_or(0) as f64 / bytes_per_second.get() as f64;
    estimate.duration = Duration::from_secs_f64(seconds);
    estimate
}

fn sources(placement: &Placement, it: &PlannedMove, write_min: u8) -> Vec<NodeId> {
    if let Some(leaver) = it.remove.filter(|_| !it.lost) {
        return vec![leaver];
    }
    let owners = placement.owners(it.partition);
    let enough = (owners.len() + 1).saturating_sub(usize::from(write_min));
    let ids = owners.iter().map(|owner| placement.node(*owner).id);
    ids.filter(|id| Some(*id) != it.remove)
        .take(enough)
        .collect()
}
