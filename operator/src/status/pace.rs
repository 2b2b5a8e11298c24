//! How often a status is written while data moves.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::crd::{KVClusterStatus, Operation};
use crate::status::reason::ConditionType;

/// Figures alone are written at most this often.
const FIGURES_EVERY: Duration = Duration::from_secs(5);

/// Whether `new` says something that cannot wait: anything but the figures of the operation in
/// progress, and what each of its epochs makes flicker.
pub(crate) fn is_news(old: Option<&KVClusterStatus>, new: &KVClusterStatus, now: &Time) -> bool {
    let Some(old) = old else {
        return true;
    };
    let (Some(before), Some(after)) = (&old.operation, &new.operation) else {
        return true;
    };
    let due = before.updated.as_ref().is_none_or(|updated| {
        let passed = Duration::try_from(now.0.duration_since(updated.0));
        passed.map_or(true, |passed| passed >= FIGURES_EVERY)
    });
    due || step(before) != step(after)
        || verdicts(&old.conditions) != verdicts(&new.conditions)
        || (old.nodes, old.ready_nodes, &old.summary) != (new.nodes, new.ready_nodes, &new.summary)
        || old.observed_generation != new.observed_generation
}

fn step(operation: &Operation) -> (String, &str, bool, Option<&str>) {
    let plan = operation.plan.as_ref().map(|plan| plan.id.as_str());
    let kind = format!("{:?}", operation.r#type);
    (kind, &operation.phase, operation.cancellable, plan)
}

fn verdicts(conditions: &[Condition]) -> Vec<(&str, &str, &str)> {
    let flickers = ConditionType::MembershipConverged.as_str();
    let lasting = conditions.iter().filter(|it| it.type_ != flickers);
    lasting
        .map(|it| (it.type_.as_str(), it.status.as_str(), it.reason.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::crd::OperationType;

    fn at(seconds: i64) -> Time {
        Time(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds))
    }

    fn status(done: i64, phase: &str) -> KVClusterStatus {
        let operation = Operation {
            r#type: OperationType::ScaleOut,
            phase: phase.into(),
            partitions_done: Some(done),
            partitions_total: Some(40),
            bytes_done: None,
            bytes_total: None,
            started: None,
            eta: None,
            waiting_for: None,
            cancellable: true,
            plan: None,
            updated: Some(at(0)),
        };
        KVClusterStatus {
            operation: Some(operation),
            ..KVClusterStatus::default()
        }
    }

    #[test]
    fn figures_wait_and_phases_do_not() {
        let old = status(1, "Moving");
        assert!(!is_news(Some(&old), &status(2, "Moving"), &at(4)));
        assert!(is_news(Some(&old), &status(2, "Moving"), &at(5)));
        assert!(is_news(Some(&old), &status(2, "Leaving"), &at(1)));
        let mut down = status(2, "Moving");
        down.ready_nodes = 3;
        assert!(is_news(Some(&old), &down, &at(1)));
        assert!(is_news(None, &old, &at(1)));
        let ended = KVClusterStatus::default();
        assert!(is_news(Some(&old), &ended, &at(1)));
    }
}
