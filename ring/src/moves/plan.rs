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

use std::collections::BTreeSet;

use super::cancel::superseded;
use super::change::{Change, PlannedMove};
use super::id::MoveId;
use super::limits::MoveLimits;
use super::members::members;
use super::room::Room;
use super::swap::{Swap, swaps};
use crate::node::{Node, NodeId, NodeState};
use crate::partition::{PartitionId, ReplicationFactor};
use crate::placement::Placement;
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
    /// Nodes that begin no move now: they do not answer at the moment, or have no room.
    pub away: &'a BTreeSet<NodeId>,
}

impl Desired<'_> {
    /// Whether the node is to have vnodes.
    pub(crate) fn takes(&self, node: NodeId) -> bool {
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
        if may_begin(placement, desired, &it) && room.admits(placement, &it.planned) {
            room.take(placement, &it.planned);
            batch.changes.push(Change::Start(it.planned));
            batch.left -= 1;
        }
    }
    Ok(batch)
}

pub(crate) fn target(
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
pub(crate) struct ToBegin {
    urgency: Urgency,
    pub(crate) planned: PlannedMove,
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

/// A move needs who joins, and who leaves unless that one is given up. Where another owner is away,
/// only what restores copies begins: every move makes a partition need more nodes for a while.
fn may_begin(placement: &Placement, desired: &Desired<'_>, it: &ToBegin) -> bool {
    let away = |node: &NodeId| desired.away.contains(node);
    let PlannedMove {
        add, remove, lost, ..
    } = it.planned;
    let needed = add.into_iter().chain(remove.filter(|_| !lost));
    let owners = placement.owners(it.planned.partition).iter();
    let mut owners = owners.map(|owner| placement.node(*owner).id);
    let restores = it.urgency <= Urgency::CopyMissing;
    !needed.into_iter().any(|node| away(&node)) && (restores || !owners.any(|node| away(&node)))
}

/// The moves that lead to what is desired, after those under way.
pub(crate) fn to_begin(
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
        for Swap { add, remove } in swaps(&before, &after) {
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
