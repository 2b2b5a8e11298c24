//! The name of a plan, and what it says: for a person to approve before anything moves.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::time::Duration;

use annulus_ring::{Desired as RingDesired, NodeId, Placement, PlannedMove, estimate, outline};
use xxhash_rust::xxh3::xxh3_64;

use crate::membership::moving::progress::bytes_per_vnode;
use crate::membership::view::{Desired, Observed};

/// What a plan moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlanSummary {
    /// Moves of one vnode each.
    pub(crate) moves: usize,
    /// Bytes that pass between nodes, estimated.
    pub(crate) bytes: u64,
    /// How long the busiest node copies at the rate that the spec allows.
    pub(crate) duration: Duration,
    /// Vnodes by leaver and joiner, the most first.
    pub(crate) pairs: Vec<(String, String, usize)>,
}

/// Names what the ring is to become, not the way there: so the name stays while it is carried
/// out, and an approval with it.
pub(super) fn plan_id(observed: &Observed, desired: &Desired, goal: &RingDesired<'_>) -> String {
    let mut text = format!("{};", goal.replication_factor.get());
    for (name, seat) in &desired.nodes {
        let drains = observed.nodes.get(name).is_some_and(|node| node.drain);
        write!(text, "{name} {} {drains};", seat.capacity).expect("a string takes everything");
    }
    for id in goal.gone {
        write!(text, "-{id};").expect("a string takes everything");
    }
    format!("{:08x}", xxh3_64(text.as_bytes()) >> 32)
}

/// What the plan moves; none where there is no plan.
pub(super) fn summary(
    ring: &Placement,
    observed: &Observed,
    desired: &Desired,
    goal: &RingDesired<'_>,
) -> Option<PlanSummary> {
    let moves = outline(ring, goal).ok()?;
    let each = bytes_per_vnode(ring, observed);
    let rate = NonZeroU64::new(desired.bytes_per_second).unwrap_or(NonZeroU64::MIN);
    let costs = estimate(ring, &moves, |_| each, rate, desired.rules.write_min);
    Some(PlanSummary {
        moves: costs.moves,
        bytes: costs.bytes,
        duration: costs.duration,
        pairs: pairs(ring, goal, &moves),
    })
}

fn pairs(
    ring: &Placement,
    goal: &RingDesired<'_>,
    moves: &[PlannedMove],
) -> Vec<(String, String, usize)> {
    let name = |id: Option<NodeId>| {
        let mut known = goal.nodes.iter().chain(ring.nodes());
        let node = id.and_then(|id| known.find(|node| node.id == id));
        node.map_or_else(|| "-".to_owned(), |node| node.name.clone())
    };
    let mut counts: BTreeMap<(Option<NodeId>, Option<NodeId>), usize> = BTreeMap::new();
    for it in moves {
        *counts.entry((it.remove, it.add)).or_default() += 1;
    }
    let counts = counts.into_iter();
    let mut pairs: Vec<_> = counts
        .map(|((from, to), count)| (name(from), name(to), count))
        .collect();
    pairs.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
    pairs
}
