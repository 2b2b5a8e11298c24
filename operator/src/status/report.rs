//! Facts → the whole status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::crd::KVClusterStatus;
use crate::names;
use crate::status::conditions::conditions;
use crate::status::facts::Facts;
use crate::status::operation::operation;

/// The status that `facts` make; what does not change keeps its dates, so that an unchanged
/// cluster gives an equal status.
pub(crate) fn report(
    cluster: &str,
    facts: &Facts,
    old: Option<&KVClusterStatus>,
    now: &Time,
) -> KVClusterStatus {
    let unknown = KVClusterStatus::default();
    let old = old.unwrap_or(&unknown);
    let ring_epoch = facts
        .ring
        .as_ref()
        .map(|ring| i64::try_from(ring.epoch.0).unwrap_or(i64::MAX));
    KVClusterStatus {
        observed_generation: facts.generation,
        conditions: conditions(facts, &old.conditions, now),
        nodes: count(facts.nodes.len()),
        ready_nodes: count(facts.ready.len()),
        ready: format!("{}/{}", facts.ready.len(), facts.nodes.len()),
        summary: summary(facts),
        selector: names::pod_selector_text(cluster),
        // That there was a ring must never be forgotten: it forbids founding a second one.
        ring_epoch: ring_epoch.or(old.ring_epoch),
        operation: operation(facts, old.operation.as_ref(), now),
    }
}

fn summary(facts: &Facts) -> String {
    if let Some((reason, _)) = &facts.stalled {
        return format!("Stalled: {}", reason.as_str());
    }
    let word = match &facts.ring {
        None => "Founding",
        Some(ring) if ring.availability.below_quorum > 0 => "Unavailable",
        Some(_) if !facts.disks.is_empty() || !facts.all_ready() => "Degraded",
        Some(_) if facts.moving.is_some() => "Changing",
        Some(ring) if !ring.pending.is_empty() => "Converging",
        Some(_) => "Ready",
    };
    word.to_owned()
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
