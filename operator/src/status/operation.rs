//! The operation in progress.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::crd::{Operation, OperationType};
use crate::status::facts::{Facts, listed};

/// The founding, until every node has held the first placement; it keeps its start.
pub(super) fn operation(facts: &Facts, old: Option<&Operation>, now: &Time) -> Option<Operation> {
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
    })
}
