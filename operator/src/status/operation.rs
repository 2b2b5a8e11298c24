//! The operation in progress.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::crd::{Operation, OperationPlan, OperationType};
use crate::membership::{Kind, Moving, Phase, PlanSummary};
use crate::status::facts::{Facts, listed};
use crate::status::reason::Reason;

/// Pairs of nodes that a plan names.
const SHOWN_PAIRS: usize = 12;
/// No end is told that is farther away than this, in seconds: thirty years.
const FARTHEST_END: f64 = 1e9;
/// Waits that are told.
const SHOWN_WAITS: usize = 3;

/// What is in progress, if anything; it keeps its start.
pub(super) fn operation(facts: &Facts, old: Option<&Operation>, now: &Time) -> Option<Operation> {
    match &facts.moving {
        Some(moving) => Some(changing(moving, old, now)),
        None => founding(facts, old, now),
    }
}

/// The founding, until every node has held the first placement.
fn founding(facts: &Facts, old: Option<&Operation>, now: &Time) -> Option<Operation> {
    let old = old.filter(|old| old.r#type == OperationType::Founding);
    let (phase, waiting_for) = match &facts.ring {
        None => ("StartingNodes", facts.waiting_for.clone()),
        Some(ring) if old.is_some() && !ring.pending.is_empty() => {
            ("HandingOver", Some(listed(&ring.pending)))
        }
        Some(_) => return None,
    };
    let started = old
        .and_then(|old| old.started.clone())
        .unwrap_or_else(|| now.clone());
    Some(Operation {
        r#type: OperationType::Founding,
        phase: phase.to_owned(),
        partitions_done: None,
        partitions_total: None,
        bytes_done: None,
        bytes_total: None,
        started: Some(started),
        eta: None,
        waiting_for,
        cancellable: facts.ring.is_none(),
        plan: None,
        updated: None,
    })
}

/// A change of the ring. What was done is what there was at most, less what is left: so the
/// figures need no memory but the last status, and survive the operator. Another plan starts anew.
fn changing(moving: &Moving, old: Option<&Operation>, now: &Time) -> Operation {
    let id = |operation: &&Operation| {
        let plan = operation.plan.as_ref();
        plan.is_some_and(|plan| plan.id == moving.plan_id)
    };
    let old = old.filter(id);
    let total = |left: i64, before: Option<i64>| before.unwrap_or_default().max(left);
    let left = signed(moving.remaining.moves);
    let partitions = total(left, old.and_then(|old| old.partitions_total));
    let bytes_left = i64::try_from(moving.remaining.bytes).unwrap_or(i64::MAX);
    let bytes = total(bytes_left, old.and_then(|old| old.bytes_total));
    let started = old.and_then(|old| old.started.clone());
    let mut operation = Operation {
        // A member that joined, say, is like the others while its vnodes arrive.
        r#type: old.map_or_else(|| kind(moving.kind), |old| old.r#type),
        phase: phase_name(moving.phase).to_owned(),
        partitions_done: Some(partitions - left),
        partitions_total: Some(partitions),
        bytes_done: Some(bytes - bytes_left),
        bytes_total: Some(bytes),
        started: started.or_else(|| Some(now.clone())),
        eta: None,
        waiting_for: waiting_for(&moving.waits),
        cancellable: moving.cancellable,
        plan: Some(plan(moving, old)),
        updated: old.and_then(|old| old.updated.clone()),
    };
    operation.eta = eta(&operation, now);
    if old != Some(&operation) {
        operation.updated = Some(now.clone());
    }
    operation
}

fn waiting_for(waits: &[String]) -> Option<String> {
    let shown = waits.iter().take(SHOWN_WAITS);
    let mut text = shown.cloned().collect::<Vec<_>>().join("; ");
    if waits.len() > SHOWN_WAITS {
        text = format!("{text}; and {} more", waits.len() - SHOWN_WAITS);
    }
    (!text.is_empty()).then_some(text)
}

/// At the pace so far, by bytes where there are some.
fn eta(operation: &Operation, now: &Time) -> Option<Time> {
    let share = |done: Option<i64>, total: Option<i64>| {
        let (done, total) = (done? as f64, total? as f64);
        (done > 0.0 && total > done).then(|| (total - done) / done)
    };
    let left = share(operation.bytes_done, operation.bytes_total)
        .or_else(|| share(operation.partitions_done, operation.partitions_total))?;
    let passed = now.0.duration_since(operation.started.as_ref()?.0);
    let ahead = (passed.as_secs_f64() * left)
        .clamp(0.0, FARTHEST_END)
        .round();
    let ahead = Duration::try_from_secs_f64(ahead).ok()?;
    now.0.checked_add(ahead).ok().map(Time)
}

/// The plan as it was worked out, before it began.
fn plan(moving: &Moving, old: Option<&Operation>) -> OperationPlan {
    let id = moving.plan_id.clone();
    let old = old.and_then(|old| old.plan.clone());
    match (&moving.plan, old) {
        // Between two batches what is left would be taken for the whole.
        (_, Some(old)) if old.moves.is_some() => old,
        (Some(summary), _) => described(id, summary),
        (None, _) => OperationPlan {
            id,
            ..OperationPlan::default()
        },
    }
}

fn described(id: String, summary: &PlanSummary) -> OperationPlan {
    let pairs = summary.pairs.iter().take(SHOWN_PAIRS);
    OperationPlan {
        id,
        moves: Some(signed(summary.moves)),
        bytes: Some(i64::try_from(summary.bytes).unwrap_or(i64::MAX)),
        seconds: Some(i64::try_from(summary.duration.as_secs()).unwrap_or(i64::MAX)),
        pairs: pairs
            .map(|(from, to, count)| format!("{from} -> {to}: {count}"))
            .collect(),
    }
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn kind(kind: Kind) -> OperationType {
    match kind {
        Kind::Replace => OperationType::Replace,
        Kind::ChangeReplicationFactor => OperationType::ChangeReplicationFactor,
        Kind::ScaleIn => OperationType::ScaleIn,
        Kind::ScaleOut => OperationType::ScaleOut,
        Kind::Drain => OperationType::Drain,
        Kind::Rebalance => OperationType::Rebalance,
    }
}

/// The reason that conditions give while it lasts.
pub(super) fn change_of(kind: Kind) -> Reason {
    match kind {
        Kind::Replace => Reason::ReplacingNode,
        Kind::ChangeReplicationFactor => Reason::ChangingReplicationFactor,
        Kind::ScaleIn => Reason::ScalingIn,
        Kind::ScaleOut => Reason::ScalingOut,
        Kind::Drain => Reason::DrainingNode,
        Kind::Rebalance => Reason::Rebalancing,
    }
}

/// A phase as a status writes it.
pub(super) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Blocked => "Blocked",
        Phase::AwaitingApproval => "AwaitingApproval",
        Phase::StartingNodes => "StartingNodes",
        Phase::Joining => "Joining",
        Phase::Moving => "Moving",
        Phase::Leaving => "Leaving",
    }
}

/// What is worth an event on the way from one operation to the next: a phase, and the end.
pub(crate) fn milestones(
    old: Option<&Operation>,
    new: Option<&Operation>,
) -> Vec<(Reason, String)> {
    match (old, new) {
        (Some(old), None) if old.r#type != OperationType::Founding => {
            vec![(Reason::OperationFinished, format!("{:?}", old.r#type))]
        }
        (Some(old), Some(new)) if old.phase != new.phase && new.plan.is_some() => {
            let text = format!("{:?}: {}, was {}", new.r#type, new.phase, old.phase);
            vec![(Reason::OperationPhase, text)]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::membership::Remaining;

    fn at(seconds: i64) -> Time {
        Time(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds))
    }

    fn facts(id: &str, moves: usize, bytes: u64) -> Facts {
        let moving = Moving {
            kind: Kind::ScaleOut,
            phase: Phase::Moving,
            plan_id: id.into(),
            plan: None,
            remaining: Remaining { moves, bytes },
            waits: (0..5).map(|wait| format!("wait {wait}")).collect(),
            cancellable: true,
            problem: None,
        };
        Facts {
            moving: Some(moving),
            ..Facts::default()
        }
    }

    #[test]
    fn what_is_done_is_what_there_was_less_what_is_left() {
        let first = operation(&facts("a", 40, 4_000), None, &at(0)).unwrap();
        assert_eq!(
            (first.partitions_done, first.partitions_total),
            (Some(0), Some(40))
        );
        assert_eq!(
            (first.eta.clone(), first.started.clone()),
            (None, Some(at(0)))
        );
        let waits = first.waiting_for.as_deref();
        assert_eq!(waits, Some("wait 0; wait 1; wait 2; and 2 more"));
        let later = operation(&facts("a", 30, 1_000), Some(&first), &at(30)).unwrap();
        assert_eq!(
            (later.partitions_done, later.partitions_total),
            (Some(10), Some(40))
        );
        assert_eq!(
            (later.bytes_done, later.bytes_total),
            (Some(3_000), Some(4_000))
        );
        assert_eq!((later.eta, later.started), (Some(at(40)), Some(at(0))));
    }

    #[test]
    fn another_plan_starts_anew_and_the_same_keeps_its_type() {
        let first = operation(&facts("a", 40, 0), None, &at(0)).unwrap();
        let other = operation(&facts("b", 10, 0), Some(&first), &at(9)).unwrap();
        assert_eq!(
            (other.partitions_total, other.started),
            (Some(10), Some(at(9)))
        );
        let mut like_any = facts("a", 20, 0);
        like_any.moving.as_mut().unwrap().kind = Kind::Rebalance;
        let same = operation(&like_any, Some(&first), &at(9)).unwrap();
        assert_eq!(same.r#type, OperationType::ScaleOut);
    }

    #[test]
    fn an_operation_that_stands_still_is_equal() {
        let first = operation(&facts("a", 40, 0), None, &at(0)).unwrap();
        assert_eq!(
            operation(&facts("a", 40, 0), Some(&first), &at(60)),
            Some(first)
        );
    }

    #[test]
    fn a_phase_and_the_end_are_told() {
        let moving = operation(&facts("a", 40, 0), None, &at(0)).unwrap();
        let mut leaving = moving.clone();
        leaving.phase = "Leaving".into();
        assert_eq!(milestones(None, Some(&moving)), []);
        assert_eq!(milestones(Some(&moving), Some(&moving)), []);
        let phase = milestones(Some(&moving), Some(&leaving));
        assert_eq!(phase[0].0, Reason::OperationPhase);
        assert_eq!(
            milestones(Some(&leaving), None)[0].0,
            Reason::OperationFinished
        );
    }
}
