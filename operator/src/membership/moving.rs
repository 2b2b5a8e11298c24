//! How a founded ring changes: members join and leave, copies move. Pure.
//!
//! [`look`] works out anew each time what the ring is to become, how far it is, and the placement
//! of the next epoch. What it goes by is in the API (the placement with its moves, the KVNodes)
//! and in the nodes (their reports); nothing else is remembered, so that it may be killed between
//! any two writes, and the spec may change at any time: a count that is raised again calls off
//! the moves that the lower one began, as long as that is possible.
//!
//! | module | owns |
//! |---|---|
//! | [`presence`] | who of the members is there, missing, or lost its disk |
//! | [`mod@losses`] | whom to give up, whom to replace, and the brake |
//! | [`mod@target`] | the members to be, on the way and in the end |
//! | [`join_barrier`] | when a new member may be given vnodes |
//! | [`mod@evidence`] | the nodes' reports in the form that the stage machine takes |
//! | [`approval`] | the name of a plan, and what it says |
//! | [`progress`] | how much is left |
//!
//! Invariants: no vnode goes to a node that some live member does not see; at most one lost
//! member is replaced at a time, and none while more than one failure domain looks unhealthy;
//! every stage change is `annulus_ring::advance`'s.

mod approval;
mod evidence;
mod join_barrier;
mod losses;
mod presence;
mod progress;
mod target;

use annulus_ring::{Advance, Batch, Change, Placement, PlanError, advance, next_batch};

pub(crate) use approval::PlanSummary;
pub(crate) use progress::Remaining;

use crate::crd::Approval;
use crate::membership::moving::approval::{plan_id, summary};
use crate::membership::moving::evidence::evidence;
use crate::membership::moving::losses::{Losses, losses};
use crate::membership::moving::progress::remaining;
use crate::membership::moving::target::{Target, target};
use crate::membership::view::{Desired, Observed};

/// What changes the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A lost member's copies are made anew.
    Replace,
    /// N changes.
    ChangeReplicationFactor,
    /// Nodes leave.
    ScaleIn,
    /// Nodes join.
    ScaleOut,
    /// A node's vnodes are moved away; it stays.
    Drain,
    /// Vnodes are spread anew.
    Rebalance,
}

/// How far the change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is no plan that leads to what is desired.
    Blocked,
    /// A person is to approve the plan.
    AwaitingApproval,
    /// New nodes do not answer yet.
    StartingNodes,
    /// New nodes are members without vnodes until all members see them.
    Joining,
    /// Vnodes move.
    Moving,
    /// Nodes without vnodes end what they have.
    Leaving,
}

/// A change of the ring under way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moving {
    /// What changes.
    pub(crate) kind: Kind,
    /// How far it is.
    pub(crate) phase: Phase,
    /// Name of the plan; the same as long as what is desired is.
    pub(crate) plan_id: String,
    /// What the plan moves; worked out while no move is under way.
    pub(crate) plan: Option<PlanSummary>,
    /// What is left to do.
    pub(crate) remaining: Remaining,
    /// What is waited for, in words; the first matters most.
    pub(crate) waits: Vec<String>,
    /// Whether changing the spec back ends it.
    pub(crate) cancellable: bool,
    /// Why there is no plan. Moves under way go on.
    pub(crate) problem: Option<String>,
}

/// What is under way, if anything, and the placement of the next epoch, if there is one now.
pub(crate) fn look(
    ring: &Placement,
    observed: &Observed,
    desired: &Desired,
) -> (Option<Moving>, Option<Placement>) {
    let losses = losses(ring, observed, desired);
    let target = target(ring, observed, desired, &losses);
    let planned = next_batch(ring, &target.on_the_way(), desired.limits);
    let plan_id = plan_id(observed, desired, &target.goal());
    let approved =
        desired.approval == Approval::Automatic || observed.approved.as_ref() == Some(&plan_id);
    let (batch, problem) = allowed(planned, approved);
    let evidence = evidence(ring, observed, &losses);
    let stages = advance(ring, &evidence, desired.rules, &batch.cancel);
    let (next, refused) = next_epoch(ring, &stages, &batch);
    let left = batch.left + starts(&batch.changes);
    let problem = problem.or(refused);
    let pending = !approved && (left > 0 || target.changes_members());
    let is_idle = left == 0 && ring.moves().is_empty() && !target.is_under_way();
    if is_idle && !pending && problem.is_none() {
        // Addresses, zones or weights may change without a move.
        return (None, next);
    }
    let phase = phase(ring, &target, left, pending, problem.is_some());
    let moving = Moving {
        kind: target.kind,
        phase,
        // As long as new nodes wait to join, nothing begins, though the plan is known.
        plan: (ring.moves().is_empty() && target.awaited.is_empty())
            .then(|| summary(ring, observed, desired, &target.goal()))
            .flatten()
            .filter(|plan| plan.moves > 0),
        plan_id,
        remaining: remaining(ring, observed, left),
        waits: waits(&target, &losses, &stages, observed),
        cancellable: target.kind != Kind::Replace && phase != Phase::Leaving,
        problem,
    };
    (Some(moving), next)
}

/// What may begin now: nothing without a plan, nothing that a person has still to approve.
fn allowed(planned: Result<Batch, PlanError>, approved: bool) -> (Batch, Option<String>) {
    match planned {
        Ok(batch) if approved => (batch, None),
        Ok(batch) => {
            let left = batch.left + starts(&batch.changes);
            let held = Batch {
                left,
                ..Batch::default()
            };
            (held, None)
        }
        Err(error) => (Batch::default(), Some(error.to_string())),
    }
}

fn starts(changes: &[Change]) -> usize {
    let starts = changes.iter();
    starts
        .filter(|change| matches!(change, Change::Start(_)))
        .count()
}

/// The next epoch's placement, if anything changes. Stage changes come even where the rest is
/// refused, which would be a defect of the planner.
fn next_epoch(
    ring: &Placement,
    stages: &Advance,
    batch: &Batch,
) -> (Option<Placement>, Option<String>) {
    let changes = [stages.changes.as_slice(), batch.changes.as_slice()].concat();
    if changes.is_empty() {
        return (None, None);
    }
    match ring.apply(&changes) {
        Ok(next) => (Some(next), None),
        Err(error) => (ring.apply(&stages.changes).ok(), Some(error.to_string())),
    }
}

fn phase(ring: &Placement, target: &Target, left: usize, pending: bool, blocked: bool) -> Phase {
    if !ring.moves().is_empty() {
        Phase::Moving
    } else if blocked {
        Phase::Blocked
    } else if pending {
        Phase::AwaitingApproval
    } else if left > 0 {
        Phase::Moving
    } else if !target.joining.is_empty() {
        Phase::Joining
    } else if !target.awaited.is_empty() {
        Phase::StartingNodes
    } else {
        Phase::Leaving
    }
}

/// Moves under way first: what they wait for is what everything else waits for.
fn waits(target: &Target, losses: &Losses, stages: &Advance, observed: &Observed) -> Vec<String> {
    let problems = observed.nodes.iter().flat_map(|(name, node)| {
        let moves = node.moves.iter().flat_map(|moves| &moves.moves);
        let problems = moves.filter(|it| !it.problem.is_empty());
        problems.map(move |it| format!("{} at {name}: {}", it.report.id, it.problem))
    });
    let mut waits: Vec<String> = problems.collect();
    waits.extend(stages.waits.iter().map(ToString::to_string));
    waits.extend(target.waits.iter().cloned());
    waits.extend(losses.waits.iter().cloned());
    waits
}

#[cfg(test)]
mod tests;
