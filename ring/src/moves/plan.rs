//! Plans: which moves lead from the current placement to what is desired, and which of them to
//! start now.
//!
//! Level-triggered: everything is worked out anew from the current placement, its moves under way
//! included, and from what is desired now. Whoever asks may be restarted at any time, and desires
//! may change at any time; nothing else is remembered.
//!
//! - Moves under way count as done, so the plan is about what is left. Those that lead away from
//!   what is desired, and can still be called off, are, and count as undone.
//! - A partition gets one move at a time, so at most one of its owners changes at a time.
//! - Lost copies come first, then missing ones, then what leaves, then balance.
//! - A node that is not desired any more drains, and is a member until nothing names it.

use std::collections::{BTreeMap, BTreeSet};

use super::change::{Change, PlannedMove};
use super::exchange::{Exchange, exchanges};
use super::id::MoveId;
use super::limits::MoveLimits;
use super::members::members;
use super::record::Move;
use crate::node::{Node, NodeId, NodeIndex, NodeState};
use crate::partition::{PartitionId, ReplicationFactor};
use crate::placement::{MAX_MOVES, Placement};
use crate::transfer_plan::{PlanError, Settled, TransferPlan, plan_settled};

/// What the ring is to become.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    /// Its members. Those that drain stay members without vnodes; others that own something are
    /// drained first and dropped then.
    pub nodes: &'a [Node],
    /// N.
    pub replication_factor: ReplicationFactor,
    /// Nodes of whom nothing is expected any more: their vnodes come from the others.
    pub gone: &'a BTreeSet<NodeId>,
}

impl Desired<'_> {
    /// Whether the node is to have vnodes.
    fn takes(&self, node: NodeId) -> bool {
        let mut members = self.nodes.iter();
        let active = members.any(|it| it.id == node && it.state == NodeState::Active);
        active && !self.gone.contains(&node)
    }
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Members, N and moves to begin, for [`Placement::apply`].
    pub changes: Vec<Change>,
    /// Moves to call off, for [`advance`](super::advance()).
    pub cancel: BTreeSet<MoveId>,
    /// How many moves are to follow those under way and those that begin now.
    pub left: usize,
}

/// All moves that are to begin yet, several for some partitions; the most urgent first.
pub fn outline(
    placement: &Placement,
    desired: &Desired<'_>,
) -> Result<Vec<PlannedMove>, PlanError> {
    let cancel = superseded(placement, desired)?;
    let mut planned = to_begin(placement, desired, &cancel)?;
    planned.sort_by_key(|it| (it.urgency, it.planned.partition));
    Ok(planned.into_iter().map(|it| it.planned).collect())
}

/// The moves to begin now, and those to call off.
pub fn next_batch(
    placement: &Placement,
    desired: &Desired<'_>,
    limits: MoveLimits,
) -> Result<Batch, PlanError> {
    let cancel = superseded(placement, desired)?;
    let mut planned = to_begin(placement, desired, &cancel)?;
    planned.sort_by_key(|it| (it.urgency, it.planned.partition));
    let mut batch = Batch {
        left: planned.len(),
        cancel,
        changes: Vec::new(),
    };
    batch.changes.extend(members(placement, desired.nodes));
    batch
        .changes
        .extend(replicas(placement, desired.replication_factor));
    let mut room = Room::new(placement, limits);
    for it in planned {
        if room.admits(placement, &it.planned) {
            room.take(placement, &it.planned);
            batch.changes.push(Change::Start(it.planned));
            batch.left -= 1;
        }
    }
    Ok(batch)
}

/// Moves under way that lead away from what is desired and can be called off.
fn superseded(placement: &Placement, desired: &Desired<'_>) -> Result<BTreeSet<MoveId>, PlanError> {
    let open = placement.moves().iter();
    let open: Vec<&Move> = open.filter(|it| it.stage.can_be_cancelled()).collect();
    let aimless = open.iter().filter(|it| is_aimless(placement, desired, it));
    let mut cancel: BTreeSet<MoveId> = aimless.map(|it| it.id).collect();
    let undone = &reversals(placement, desired, &open)? - &cancel;
    if !undone.is_empty() {
        let with = &cancel | &undone;
        let kept = to_begin(placement, desired, &cancel)?.len();
        let called_off = to_begin(placement, desired, &with)?.len();
        // Both the move and its reversal must be saved. A plan that is merely no better than the
        // last one, from one epoch to the next, must not start and stop moves for ever.
        if called_off + undone.len() <= kept {
            cancel = with;
        }
    }
    Ok(cancel)
}

/// Whether the move leads to a node that takes no vnodes, or to a number of copies that is not
/// wanted.
fn is_aimless(placement: &Placement, desired: &Desired<'_>, it: &Move) -> bool {
    let wanted = usize::from(desired.replication_factor.get());
    let owners = placement.new_owners(it.partition()).len();
    match (it.add, it.remove) {
        (Some(add), _) if !desired.takes(placement.node(add).id) => true,
        (Some(_), None) => owners > wanted,
        (None, _) => owners < wanted,
        (Some(_), Some(_)) => false,
    }
}

/// Moves whose leaver is to get, after them, as many vnodes as it gave, and whose joining owner is
/// to give some: a mind was changed.
fn reversals(
    placement: &Placement,
    desired: &Desired<'_>,
    open: &[&Move],
) -> Result<BTreeSet<MoveId>, PlanError> {
    let takes_back = |node: &NodeIndex| desired.takes(placement.node(*node).id);
    let may_be = |it: &&&Move| it.add.is_some() && it.remove.as_ref().is_some_and(takes_back);
    let mut undone = BTreeSet::new();
    if !open.iter().any(|it| may_be(&it)) {
        return Ok(undone);
    }
    let target = target(placement, desired, &Settled::new(placement, |_| true))?;
    let mut gains = gains(placement, &target);
    for it in open.iter().filter(may_be) {
        let id = |node: Option<NodeIndex>| node.map(|node| placement.node(node).id);
        let (Some(add), Some(remove)) = (id(it.add), id(it.remove)) else {
            continue;
        };
        let gain = |node| gains.get(&node).copied().unwrap_or(0);
        if gain(remove) > 0 && gain(add) < 0 {
            *gains.entry(remove).or_default() -= 1;
            *gains.entry(add).or_default() += 1;
            undone.insert(it.id);
        }
    }
    Ok(undone)
}

/// By node: vnodes that it is to get in all, less those that it is to give.
fn gains(placement: &Placement, target: &TransferPlan) -> BTreeMap<NodeId, i64> {
    let mut gains = BTreeMap::new();
    for partition in placement.partitions().ids() {
        for owner in placement.new_owners(partition).iter() {
            *gains.entry(placement.node(owner).id).or_default() -= 1;
        }
        for owner in target.owners(partition) {
            *gains
                .entry(target.nodes()[usize::from(owner.0)].id)
                .or_default() += 1;
        }
    }
    gains
}

fn target(
    placement: &Placement,
    desired: &Desired<'_>,
    current: &Settled<'_>,
) -> Result<TransferPlan, PlanError> {
    let mut nodes = desired.nodes.to_vec();
    for node in &mut nodes {
        if desired.gone.contains(&node.id) {
            node.state = NodeState::Draining;
        }
    }
    plan_settled(
        Some(current),
        &nodes,
        placement.partitions(),
        desired.replication_factor,
    )
}

/// A move to begin, and how urgently.
struct ToBegin {
    urgency: Urgency,
    planned: PlannedMove,
}

/// Why a move is wanted; the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    CopyLost,
    CopyMissing,
    NodeLeaves,
    Balance,
    CopyTooMany,
}

/// The moves that lead to what is desired, after those under way.
fn to_begin(
    placement: &Placement,
    desired: &Desired<'_>,
    cancel: &BTreeSet<MoveId>,
) -> Result<Vec<ToBegin>, PlanError> {
    let current = Settled::new(placement, |it| !cancel.contains(&it.id));
    let target = target(placement, desired, &current)?;
    let active = desired.nodes.iter();
    let active = active.filter(|node| node.state == NodeState::Active);
    let active: BTreeSet<NodeId> = active.map(|node| node.id).collect();
    let mut planned = Vec::new();
    for partition in placement.partitions().ids() {
        let before = current.planned.owners(partition).iter();
        let before: Vec<NodeId> = before.map(|owner| placement.node(*owner).id).collect();
        let after = target.owners(partition).iter();
        let after: Vec<NodeId> = after
            .map(|owner| target.nodes()[usize::from(owner.0)].id)
            .collect();
        for Exchange { add, remove } in exchanges(&before, &after) {
            let lost = remove.is_some_and(|node| desired.gone.contains(&node));
            let urgency = match (add, remove) {
                (_, Some(_)) if lost => Urgency::CopyLost,
                (Some(_), None) => Urgency::CopyMissing,
                (None, _) => Urgency::CopyTooMany,
                (_, Some(node)) if !active.contains(&node) => Urgency::NodeLeaves,
                _ => Urgency::Balance,
            };
            planned.push(ToBegin {
                urgency,
                planned: PlannedMove {
                    partition,
                    add,
                    remove,
                    lost,
                },
            });
        }
    }
    Ok(planned)
}

/// N as it is to be in the next epoch, if it changes: a larger one before the copies are made, a
/// smaller one after they are given up.
fn replicas(placement: &Placement, wanted: ReplicationFactor) -> Option<Change> {
    let held = placement.replication_factor();
    let fits = |partition: PartitionId| {
        let sets = [
            placement.old_owners(partition),
            placement.new_owners(partition),
        ];
        sets.into_iter()
            .all(|owners| owners.len() <= usize::from(wanted.get()))
    };
    let changes = wanted > held || (wanted < held && placement.partitions().ids().all(fits));
    changes.then_some(Change::ReplicationFactor(wanted))
}

/// What may begin besides what is under way.
struct Room {
    limits: MoveLimits,
    moving: BTreeSet<PartitionId>,
    /// Moves that can be called off.
    open: usize,
    into: BTreeMap<NodeId, usize>,
    out_of: BTreeMap<NodeId, usize>,
}

impl Room {
    fn new(placement: &Placement, limits: MoveLimits) -> Self {
        let mut room = Self {
            limits,
            moving: BTreeSet::new(),
            open: 0,
            into: BTreeMap::new(),
            out_of: BTreeMap::new(),
        };
        for it in placement.moves() {
            room.moving.insert(it.partition());
            if it.stage.can_be_cancelled() {
                let id = |node| placement.node(node).id;
                let planned = PlannedMove {
                    partition: it.partition(),
                    add: it.add.map(id),
                    remove: it.remove.map(id),
                    lost: it.lost,
                };
                room.take(placement, &planned);
            }
        }
        room
    }

    /// Who may be copied from: the leaver, or, if it is lost or there is none, all others.
    fn sources(placement: &Placement, it: &PlannedMove) -> Vec<NodeId> {
        if let Some(leaver) = it.remove.filter(|_| !it.lost) {
            return vec![leaver];
        }
        let owners = placement.old_owners(it.partition);
        let ids = owners.iter().map(|owner| placement.node(owner).id);
        ids.filter(|id| Some(*id) != it.remove).collect()
    }

    fn admits(&self, placement: &Placement, it: &PlannedMove) -> bool {
        let full = |count: &BTreeMap<NodeId, usize>, node: &NodeId| {
            count.get(node).copied().unwrap_or(0) >= self.limits.per_node
        };
        !self.moving.contains(&it.partition)
            && self.moving.len() < MAX_MOVES
            && self.open < self.limits.overall
            && !it.add.is_some_and(|add| full(&self.into, &add))
            && !Self::sources(placement, it)
                .iter()
                .any(|source| full(&self.out_of, source))
    }

    fn take(&mut self, placement: &Placement, it: &PlannedMove) {
        self.moving.insert(it.partition);
        self.open += 1;
        if let Some(add) = it.add {
            *self.into.entry(add).or_default() += 1;
        }
        for source in Self::sources(placement, it) {
            *self.out_of.entry(source).or_default() += 1;
        }
    }
}
