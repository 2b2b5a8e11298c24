//! C6, convergence: after faults are healed and repair has run, all owners of a key hold the same state, and
//! nobody else holds it (`docs/protocol/versions.md`, "State and merge").
//!
//! What replicas remember of requests may differ; the bytes of an expired value may be gone on some.

use annulus_ring::Placement;

use crate::history::History;
use crate::key_history::{KeyHistory, keys};
use crate::record::{FinalState, HeldState};
use crate::violation::{Rule, Violation};

/// Judges a history. When to look at the nodes is the recorder's business.
pub fn check(history: &History) -> Vec<Violation> {
    let mut found: Vec<Violation> = keys(history).iter().filter_map(differing).collect();
    let placement = history.placements().iter().max_by_key(|p| p.epoch());
    if let Some(placement) = placement {
        let states = history.final_states().iter();
        found.extend(states.filter_map(|state| misplaced(placement, state)));
    }
    found
}

fn differing(key: &KeyHistory<'_>) -> Option<Violation> {
    let (first, others) = key.finals.split_first()?;
    let other = others
        .iter()
        .find(|other| !same(first.state.as_ref(), other.state.as_ref()))?;
    Some(Violation {
        rule: Rule::Convergence,
        key: Some(key.name.clone()),
        what: format!(
            "at the end {} holds {}, and {} holds {}",
            first.node,
            text(first.state.as_ref()),
            other.node,
            text(other.state.as_ref())
        ),
        operations: Vec::new(),
    })
}

/// No record is the same as an empty one.
fn same(a: Option<&HeldState>, b: Option<&HeldState>) -> bool {
    let empty = HeldState::default();
    let (a, b) = (a.unwrap_or(&empty), b.unwrap_or(&empty));
    let mut pairs = a.siblings.iter().zip(&b.siblings);
    a.clock == b.clock
        && a.siblings.len() == b.siblings.len()
        && pairs.all(|(a, b)| {
            let same_name = (a.dot, a.stamp, a.expires_at_ms) == (b.dot, b.stamp, b.expires_at_ms);
            let dropped = a.expires_at_ms.is_some() && (a.value.is_none() || b.value.is_none());
            same_name && (a.value == b.value || dropped)
        })
}

fn text(state: Option<&HeldState>) -> String {
    use crate::operation::ClockText;
    let Some(state) = state else {
        return "no record".to_owned();
    };
    let siblings = state.siblings.iter().map(|sibling| {
        let value = sibling
            .value
            .as_ref()
            .map_or("deleted".to_owned(), ToString::to_string);
        format!("{value} ({})", sibling.dot)
    });
    let siblings: Vec<String> = siblings.collect();
    format!("[{}] {}", siblings.join(", "), ClockText(&state.clock))
}

/// A record on a node that does not own the key.
fn misplaced(placement: &Placement, state: &FinalState) -> Option<Violation> {
    let (partition, owners) = placement.locate(&state.key.keyspace, state.key.key.as_bytes());
    let node = placement.index_of(state.node);
    let owns = node.is_some_and(|node| owners.contains(&node));
    (state.state.is_some() && !owns).then(|| Violation {
        rule: Rule::Convergence,
        key: Some(state.key.clone()),
        what: format!(
            "at the end {} holds the key, and owns partition {partition} no more (epoch {})",
            state.node,
            placement.epoch()
        ),
        operations: Vec::new(),
    })
}
