//! Facts → conditions, and conditions → events.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::membership::Moving;
use crate::status::facts::{Facts, listed};
use crate::status::operation::{change_of, phase_name};
use crate::status::reason::{ConditionType, EventLevel, Reason};

/// A condition before it is dated.
struct Verdict {
    status: bool,
    reason: Reason,
    message: String,
}

fn verdict(status: bool, reason: Reason, message: impl Into<String>) -> Verdict {
    Verdict {
        status,
        reason,
        message: message.into(),
    }
}

/// All conditions, in their order. One whose status did not change keeps its date.
pub(super) fn conditions(facts: &Facts, old: &[Condition], now: &Time) -> Vec<Condition> {
    ConditionType::ALL
        .into_iter()
        .map(|kind| {
            let verdict = judge(kind, facts);
            let status = if verdict.status { "True" } else { "False" };
            let since = old
                .iter()
                .find(|old| old.type_ == kind.as_str() && old.status == status)
                .map_or_else(|| now.clone(), |old| old.last_transition_time.clone());
            Condition {
                type_: kind.as_str().to_owned(),
                status: status.to_owned(),
                reason: verdict.reason.as_str().to_owned(),
                message: verdict.message,
                last_transition_time: since,
                observed_generation: Some(facts.generation),
            }
        })
        .collect()
}

fn judge(kind: ConditionType, facts: &Facts) -> Verdict {
    match kind {
        ConditionType::Ready => ready(facts),
        ConditionType::Reconciling => reconciling(facts),
        ConditionType::Stalled => stalled(facts),
        ConditionType::Available => available(facts),
        ConditionType::Progressing => progressing(facts),
        ConditionType::Degraded => degraded(facts),
        ConditionType::FullyReplicated => fully_replicated(facts),
        ConditionType::TopologySatisfied => topology(facts),
        ConditionType::MembershipConverged => converged(facts),
        ConditionType::CopiesCompared => compared(facts),
    }
}

/// What keeps the cluster from being as it should be, the gravest first.
fn obstacle(facts: &Facts) -> Option<(Reason, String)> {
    if let Some(stalled) = &facts.stalled {
        return Some(stalled.clone());
    }
    if let Some(disk) = facts.disks.first() {
        return Some(disk.clone());
    }
    let Some(ring) = &facts.ring else {
        return Some((
            Reason::Founding,
            facts.waiting_for.clone().unwrap_or_default(),
        ));
    };
    if !facts.all_ready() {
        return Some((
            Reason::NodesNotReady,
            format!("not serving: {}", facts.missing()),
        ));
    }
    if let Some(moving) = &facts.moving {
        return Some((change_of(moving.kind), under_way(moving)));
    }
    if !ring.pending.is_empty() {
        return Some((Reason::HandingOver, format!("to {}", listed(&ring.pending))));
    }
    facts
        .retrying
        .clone()
        .map(|message| (Reason::Retrying, message))
}

/// Steady in its words: the figures are the operation's.
fn under_way(moving: &Moving) -> String {
    format!("{}: see status.operation", phase_name(moving.phase))
}

fn ready(facts: &Facts) -> Verdict {
    match obstacle(facts) {
        Some((reason, message)) => verdict(false, reason, message),
        None => verdict(
            true,
            Reason::AllNodesServe,
            format!("{} nodes serve", facts.nodes.len()),
        ),
    }
}

fn reconciling(facts: &Facts) -> Verdict {
    // A cluster that waits for a person is not being worked on: kstatus calls it failed.
    match obstacle(facts) {
        Some((reason, message)) if facts.stalled.is_none() => verdict(true, reason, message),
        _ => verdict(false, Reason::AsDesired, ""),
    }
}

fn stalled(facts: &Facts) -> Verdict {
    match &facts.stalled {
        Some((reason, message)) => verdict(true, *reason, message.clone()),
        None => verdict(false, Reason::AsDesired, ""),
    }
}

fn available(facts: &Facts) -> Verdict {
    match &facts.ring {
        None => verdict(false, Reason::NotFounded, "there is no ring yet"),
        Some(ring) if ring.availability.below_quorum > 0 => verdict(
            false,
            Reason::QuorumLost,
            format!(
                "{} of {} partitions are below their quorum; not serving: {}",
                ring.availability.below_quorum,
                ring.availability.partitions,
                facts.missing()
            ),
        ),
        Some(_) => verdict(
            true,
            Reason::QuorumAvailable,
            "every partition has its quorum",
        ),
    }
}

fn progressing(facts: &Facts) -> Verdict {
    if facts.ring.is_none() {
        return verdict(
            true,
            Reason::Founding,
            facts.waiting_for.clone().unwrap_or_default(),
        );
    }
    if let Some(moving) = &facts.moving {
        return verdict(true, change_of(moving.kind), under_way(moving));
    }
    if !facts.outdated.is_empty() {
        return verdict(
            true,
            Reason::RevisionPending,
            format!("built from an older revision: {}", listed(&facts.outdated)),
        );
    }
    verdict(false, Reason::AsDesired, "")
}

fn degraded(facts: &Facts) -> Verdict {
    if let Some((reason, message)) = facts.disks.first() {
        return verdict(true, *reason, message.clone());
    }
    match &facts.ring {
        Some(_) if !facts.all_ready() => verdict(
            true,
            Reason::NodesNotReady,
            format!("not serving: {}", facts.missing()),
        ),
        Some(_) => verdict(false, Reason::AsDesired, ""),
        None => verdict(false, Reason::NotFounded, "there is no ring yet"),
    }
}

fn fully_replicated(facts: &Facts) -> Verdict {
    match &facts.ring {
        None => verdict(false, Reason::NotFounded, "there is no ring yet"),
        Some(ring) if ring.availability.below_full > 0 => verdict(
            false,
            Reason::CopiesMissing,
            format!(
                "{} of {} partitions lack a copy; not serving: {}",
                ring.availability.below_full,
                ring.availability.partitions,
                facts.missing()
            ),
        ),
        Some(_) => verdict(true, Reason::AllCopies, ""),
    }
}

fn topology(facts: &Facts) -> Verdict {
    match &facts.ring {
        None => verdict(false, Reason::NotFounded, "there is no ring yet"),
        Some(ring) if ring.spread.crowded > 0 => verdict(
            false,
            Reason::ZonesCrowded,
            format!(
                "{} partitions are in fewer zones than possible",
                ring.spread.crowded
            ),
        ),
        Some(ring) if ring.spread.zones == 0 => verdict(true, Reason::NoZones, "no zone is known"),
        Some(ring) => verdict(
            true,
            Reason::ZonesSpread,
            format!("{} zones", ring.spread.zones),
        ),
    }
}

fn converged(facts: &Facts) -> Verdict {
    match &facts.ring {
        None => verdict(false, Reason::NotFounded, "there is no ring yet"),
        Some(ring) if ring.pending.is_empty() => {
            verdict(true, Reason::Converged, format!("epoch {}", ring.epoch))
        }
        Some(ring) => verdict(
            false,
            Reason::PlacementPending,
            format!(
                "not known to hold epoch {}: {}",
                ring.epoch,
                listed(&ring.pending)
            ),
        ),
    }
}

fn compared(facts: &Facts) -> Verdict {
    match &facts.ring {
        None => verdict(false, Reason::NotFounded, "there is no ring yet"),
        Some(ring) if ring.overdue.is_empty() => verdict(true, Reason::ComparedInTime, ""),
        Some(ring) => verdict(
            false,
            Reason::ComparisonsOverdue,
            format!("at {}", listed(&ring.overdue)),
        ),
    }
}

/// A condition that took up another reason, one that is worth an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The new reason.
    pub(crate) reason: Reason,
    /// What it says.
    pub(crate) message: String,
}

/// The events that the way from `old` to `new` makes: one per reason, not one per condition.
pub(crate) fn changes(old: &[Condition], new: &[Condition]) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for condition in new {
        let before = old.iter().find(|old| old.type_ == condition.type_);
        let same = before
            .is_some_and(|old| old.reason == condition.reason && old.status == condition.status);
        let known = old.iter().any(|old| old.reason == condition.reason);
        let reason = Reason::ALL
            .iter()
            .find(|reason| reason.as_str() == condition.reason);
        let Some(reason) = reason.filter(|reason| reason.level() != EventLevel::Silent) else {
            continue;
        };
        if !same && !known && changes.iter().all(|change| change.reason != *reason) {
            changes.push(Change {
                reason: *reason,
                message: condition.message.clone(),
            });
        }
    }
    changes
}
