//! C3, no phantom: each value that a read shows, or that a node holds at the end, was written to that key by a put
//! that had begun and was not rejected; and no read shows a put twice (`docs/protocol/reads-and-writes.md`, "What a
//! failure means"; `versions.md`, "Retries").

use std::collections::{HashMap, HashSet};

use crate::history::History;
use crate::operation::{KeyName, Operation, OperationId, Outcome, ValueId, Verdict};
use crate::violation::{Rule, Violation};

/// Judges a history.
pub fn check(history: &History) -> Vec<Violation> {
    let puts: HashMap<&ValueId, &Operation> = history
        .operations()
        .iter()
        .filter_map(|put| Some((put.value()?, put)))
        .collect();
    let mut found = Vec::new();
    for get in history.operations() {
        for attempt in &get.attempts {
            let (Outcome::Found(answer), Some(end)) = (&attempt.outcome, attempt.completed_at_us)
            else {
                continue;
            };
            let mut shown = HashSet::new();
            for value in answer.values.iter().map(|shown| &shown.value) {
                let sight = Sight {
                    by: format!("{} shows", get.id),
                    get: Some(get.id),
                    key: &get.key,
                };
                let put = puts.get(value).copied();
                if !shown.insert(value) && put.is_none_or(is_named) {
                    found.push(sight.violation(&format!("{value} twice"), put));
                }
                found.extend(sight.judge(value, end, &puts));
            }
        }
    }
    for owner in history.final_states() {
        let sight = Sight {
            by: format!("at the end {} holds", owner.node),
            get: None,
            key: &owner.key,
        };
        let siblings = owner.state.iter().flat_map(|state| &state.siblings);
        for value in siblings.filter_map(|sibling| sibling.value.as_ref()) {
            found.extend(sight.judge(value, owner.at_us, &puts));
        }
    }
    found
}

/// Whether the store can tell that the put's attempts are one request.
fn is_named(put: &Operation) -> bool {
    put.request.is_some() || put.attempts.len() == 1
}

/// Who sees a value of a key.
struct Sight<'h> {
    by: String,
    get: Option<OperationId>,
    key: &'h KeyName,
}

impl Sight<'_> {
    fn judge(
        &self,
        value: &ValueId,
        at_us: u64,
        puts: &HashMap<&ValueId, &Operation>,
    ) -> Option<Violation> {
        let Some(put) = puts.get(value) else {
            return Some(self.violation(&format!("{value}, which nobody wrote"), None));
        };
        let id = put.id;
        let what = if put.key != *self.key {
            format!("{value}, which {id} wrote to {}", put.key)
        } else if put.verdict() == Verdict::Rejected {
            format!("{value}, although {id} was rejected")
        } else if put.invoked_at_us() > at_us {
            format!("{value} before {id} began to write it")
        } else {
            return None;
        };
        Some(self.violation(&what, Some(put)))
    }

    fn violation(&self, what: &str, put: Option<&Operation>) -> Violation {
        Violation {
            rule: Rule::NoPhantom,
            key: Some(self.key.clone()),
            what: format!("{} {what}", self.by),
            operations: put.map(|put| put.id).into_iter().chain(self.get).collect(),
        }
    }
}
