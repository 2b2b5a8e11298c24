//! C10, minimal moves: when the members change once, no more vnodes change hands than have to
//! (`docs/protocol/placement.md`, "The claim").
//!
//! Measured between settled placements: those that the planner would leave as they are. What has to move is what
//! the planner moves in one go; its own laws are the tests of `ring`.

use std::collections::BTreeSet;

use annulus_ring::{Node, NodeId, PartitionId, Placement, plan};

use crate::history::History;
use crate::violation::{Rule, Violation};

/// A plan that was interrupted and made anew may take so many more.
pub const MOVES_TOLERANCE: usize = 1;

/// Judges a history. Changes of members on top of unfinished ones are passed over.
pub fn check(history: &History) -> Vec<Violation> {
    let mut placements: Vec<&Placement> = history.placements().iter().collect();
    placements.sort_by_key(|placement| placement.epoch());
    let mut found = Vec::new();
    let mut start: Option<usize> = None;
    for at in 0..placements.len() {
        if !is_settled(placements[at]) {
            continue;
        }
        if let Some(start) = start {
            found.extend(check_change(&placements[start..=at]));
        }
        start = Some(at);
    }
    found
}

fn is_settled(placement: &Placement) -> bool {
    necessary(placement, placement.nodes()) == Some(0)
}

/// How many vnodes the planner would move for these members.
fn necessary(current: &Placement, members: &[Node]) -> Option<usize> {
    let (partitions, factor) = (current.partitions(), current.replication_factor());
    let plan = plan(Some(current), members, partitions, factor).ok()?;
    Some(plan.transfers().len())
}

/// From the first placement, settled, to the last, the next settled one.
fn check_change(way: &[&Placement]) -> Option<Violation> {
    let (start, end) = (way.first()?, way.last()?);
    let changes = way
        .windows(2)
        .filter(|pair| members(pair[0]) != members(pair[1]));
    let comparable = start.partitions() == end.partitions()
        && start.replication_factor() == end.replication_factor()
        && changes.count() <= 1;
    if !comparable {
        return None;
    }
    let necessary = necessary(start, end.nodes())?;
    let (before, after) = (vnodes(start), vnodes(end));
    let moved = after.difference(&before).count();
    (moved > necessary + MOVES_TOLERANCE).then(|| Violation {
        rule: Rule::MinimalMoves,
        key: None,
        what: format!(
            "{moved} vnodes changed hands from epoch {} to {}, {necessary} had to",
            start.epoch(),
            end.epoch()
        ),
        operations: Vec::new(),
    })
}

/// What the claim depends on: not the addresses.
fn members(placement: &Placement) -> Vec<impl PartialEq + '_> {
    let nodes = placement.nodes().iter();
    nodes
        .map(|node| (node.id, &node.zone, node.capacity, node.state))
        .collect()
}

fn vnodes(placement: &Placement) -> BTreeSet<(PartitionId, NodeId)> {
    let partitions = placement.partitions().ids();
    let owned = partitions.flat_map(|partition| {
        let owners = placement.owners(partition).iter();
        owners.map(move |owner| (partition, placement.node(*owner).id))
    });
    owned.collect()
}
