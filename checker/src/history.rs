//! A recording in the form that rules read: checked, indexed, with what may be tolerated.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use annulus_ring::{Placement, PlacementError};
use thiserror::Error;

use crate::operation::{Kind, Operation, OperationId, Outcome, RequestName, ValueId};
use crate::record::{FinalState, NodeEpoch, Record, Reply};

/// What the recording's circumstances allow for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// How far nodes' wall clocks and stamps may be off the recorder's clock, in microseconds. A value may be
    /// hidden so much before its time to live is over, and shown so much after.
    pub clock_skew_us: u64,
    /// How long after an attempt began a node may still begin to carry it out, in microseconds: its deadline,
    /// and the longest that the run held up a message or a process.
    pub deadline_us: u64,
    /// Whether answers between client, coordinator and owner could get lost, so that another owner wrote the
    /// same request under a second dot. `false` only in runs without faults.
    pub lost_answers: bool,
    /// The youngest tombstone that may be dropped, with its clock, in microseconds.
    pub reap_age_us: u64,
}

impl Default for Tolerance {
    /// A second of skew, the longest deadline that a node grants (30 s), lost answers, and the reap age of a
    /// node's defaults (24 h).
    fn default() -> Self {
        Self {
            clock_skew_us: 1_000_000,
            deadline_us: 30_000_000,
            lost_answers: true,
            reap_age_us: 24 * 3_600 * 1_000_000,
        }
    }
}

/// Why records are no history. The recording is at fault, not the store.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// Two operations share a number.
    #[error("operation {0} is recorded twice")]
    DuplicateOperation(OperationId),
    /// Two puts write the same value: what a read shows would have two authors.
    #[error("operations {first} and {second} write the same value {value}; each put needs its own")]
    DuplicateValue {
        /// The value.
        value: ValueId,
        /// One.
        first: OperationId,
        /// The other.
        second: OperationId,
    },
    /// Retries recorded as operations of their own.
    #[error(
        "operations {first} and {second} have the same request id: retries are attempts of one operation"
    )]
    DuplicateRequest {
        /// One.
        first: OperationId,
        /// The other.
        second: OperationId,
    },
    /// An operation without attempts, with an answer of another kind, or that ends before it begins.
    #[error("operation {operation}: {what}")]
    Malformed {
        /// The operation.
        operation: OperationId,
        /// What is wrong.
        what: &'static str,
    },
    /// A placement that is none.
    #[error("recorded placement: {0}")]
    Placement(#[from] PlacementError),
}

/// A recording, ready to be judged.
#[derive(Clone, Debug, Default)]
pub struct History {
    tolerance: Tolerance,
    operations: Vec<Operation>,
    by_id: HashMap<OperationId, usize>,
    final_states: Vec<FinalState>,
    placements: Vec<Placement>,
    node_epochs: Vec<NodeEpoch>,
    replies: Vec<Reply>,
    /// Keyspaces that may lose acknowledged writes.
    lossy: BTreeSet<String>,
}

impl History {
    /// The history of these records.
    pub fn new(
        records: impl IntoIterator<Item = Record>,
        tolerance: Tolerance,
    ) -> Result<Self, HistoryError> {
        let mut history = Self {
            tolerance,
            ..Self::default()
        };
        for record in records {
            match record {
                Record::Operation(operation) => history.operations.push(operation),
                Record::FinalState(state) => history.final_states.push(state),
                Record::Placement(document) => {
                    history.placements.push(Placement::try_from(*document)?);
                }
                Record::NodeEpoch(epoch) => history.node_epochs.push(epoch),
                Record::Reply(reply) => history.replies.push(reply),
                Record::Keyspace(promise) => {
                    if promise.may_lose_acknowledged {
                        history.lossy.insert(promise.keyspace);
                    }
                }
            }
        }
        history
            .operations
            .sort_by_key(|operation| (operation.invoked_at_us(), operation.id));
        check(&history.operations)?;
        let numbered = history.operations.iter().enumerate();
        history.by_id = numbered.map(|(at, operation)| (operation.id, at)).collect();
        Ok(history)
    }

    /// What is tolerated.
    pub fn tolerance(&self) -> Tolerance {
        self.tolerance
    }

    /// All operations, by the time that they began.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// An operation by its number.
    pub fn operation(&self, id: OperationId) -> Option<&Operation> {
        self.by_id.get(&id).map(|&at| &self.operations[at])
    }

    /// What nodes held at the end.
    pub fn final_states(&self) -> &[FinalState] {
        &self.final_states
    }

    /// The placements, as recorded.
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// Epochs that nodes were seen at, as recorded.
    pub fn node_epochs(&self) -> &[NodeEpoch] {
        &self.node_epochs
    }

    /// Whether the keyspace may lose acknowledged writes.
    pub fn may_lose(&self, keyspace: &str) -> bool {
        self.lossy.contains(keyspace)
    }

    /// Answers that coordinators counted.
    pub fn replies(&self) -> &[Reply] {
        &self.replies
    }
}

fn check(operations: &[Operation]) -> Result<(), HistoryError> {
    let mut ids = HashSet::new();
    let mut values: BTreeMap<&ValueId, OperationId> = BTreeMap::new();
    let mut requests: HashMap<RequestName, OperationId> = HashMap::new();
    for operation in operations {
        let id = operation.id;
        if !ids.insert(id) {
            return Err(HistoryError::DuplicateOperation(id));
        }
        if let Some(value) = operation.value()
            && let Some(first) = values.insert(value, id)
        {
            return Err(HistoryError::DuplicateValue {
                value: value.clone(),
                first,
                second: id,
            });
        }
        if let Some(request) = operation.request
            && let Some(first) = requests.insert(request, id)
        {
            return Err(HistoryError::DuplicateRequest { first, second: id });
        }
        check_attempts(operation).map_err(|what| HistoryError::Malformed {
            operation: id,
            what,
        })?;
    }
    Ok(())
}

fn check_attempts(operation: &Operation) -> Result<(), &'static str> {
    if operation.attempts.is_empty() {
        return Err("there is no attempt");
    }
    for attempt in &operation.attempts {
        let fits = matches!(
            (&operation.kind, &attempt.outcome),
            (_, Outcome::Rejected | Outcome::Unknown)
                | (Kind::Put { .. }, Outcome::Written(_))
                | (Kind::Delete { .. }, Outcome::Deleted(_))
                | (Kind::Get { .. }, Outcome::Found(_))
        );
        if !fits {
            return Err("an attempt has an answer to another kind of operation");
        }
        match attempt.completed_at_us {
            Some(completed) if completed < attempt.invoked_at_us => {
                return Err("an attempt ends before it begins");
            }
            None if attempt.is_ok() => return Err("an answered attempt has no time of completion"),
            _ => {}
        }
    }
    Ok(())
}
