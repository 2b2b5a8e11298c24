//! C1, no lost update: an acknowledged value is there at the end, or a write whose context included it, and that
//! was not rejected, has replaced it (`docs/protocol/reads-and-writes.md`, "What R + W > N gives").
//!
//! Judged where final states are recorded. What nobody can have replaced must be a sibling; what was
//! acknowledged, value or delete, must at least be covered by the owners' clocks.

use std::slice;

use annulus_causality::Dot;

use crate::history::History;
use crate::key_history::{KeyHistory, keys};
use crate::operation::{Operation, Policy, ValueId};
use crate::replacement::acknowledged_dots_before;
use crate::violation::{Rule, Violation};

/// Judges a history.
pub fn check(history: &History) -> Vec<Violation> {
    keys(history).iter().flat_map(check_key).collect()
}

/// Judges a key.
pub(crate) fn check_key(key: &KeyHistory<'_>) -> Vec<Violation> {
    if key.may_lose {
        return Vec::new();
    }
    let (Some(first), Some(last)) = (key.first_final_us(), key.last_final_us()) else {
        return Vec::new();
    };
    let acknowledged: Vec<&Operation> = key
        .writes
        .iter()
        .copied()
        .filter(|write| write.acknowledged_at_us().is_some_and(|at| at < first))
        .collect();
    let mut found = Vec::new();
    if !key.may_be_reaped(last) {
        found.extend(forgotten(key, &acknowledged, first));
    }
    match key.policy {
        Policy::Siblings => found.extend(lost(key, &acknowledged, last)),
        Policy::Lww => found.extend(all_lost(key, &acknowledged, last)),
    }
    found
}

/// Acknowledged events that no owner has heard of.
fn forgotten(key: &KeyHistory<'_>, acknowledged: &[&Operation], first_us: u64) -> Vec<Violation> {
    let clock = key.final_clock();
    let forgotten = acknowledged.iter().filter_map(|write| {
        let mut dots = acknowledged_dots_before(write, first_us);
        let dot = dots.find(|dot| !clock.covers(*dot))?;
        let what = format!(
            "{} was acknowledged as {dot}, and no owner knows of it",
            write.id
        );
        Some(violation(key, what, slice::from_ref(*write)))
    });
    forgotten.collect()
}

/// Values that are gone without a write that may have replaced them.
fn lost(key: &KeyHistory<'_>, acknowledged: &[&Operation], last_us: u64) -> Vec<Violation> {
    let lost = acknowledged.iter().filter_map(|write| {
        let value = write.value()?;
        let accounted_for = survives(key, value, key.dots_of(write))
            || key.may_be_expired(write, last_us)
            || key.may_be_replaced_by(write, last_us);
        (!accounted_for).then(|| {
            let what = format!(
                "{value} ({}) was acknowledged and is gone; no write's context covered it",
                write.id
            );
            violation(key, what, slice::from_ref(*write))
        })
    });
    lost.collect()
}

/// Whether the merge of all owners' states keeps the value.
fn survives(key: &KeyHistory<'_>, value: &ValueId, dots: &[Dot]) -> bool {
    let states = || key.finals.iter().filter_map(|state| state.state.as_ref());
    let holders = states()
        .flat_map(|state| &state.siblings)
        .filter(|sibling| sibling.value.as_ref() == Some(value) || dots.contains(&sibling.dot));
    holders.map(|sibling| sibling.dot).any(|dot| {
        states().all(|state| {
            !state.clock.covers(dot) || state.siblings.iter().any(|sibling| sibling.dot == dot)
        })
    })
}

/// Where the last writer wins, some writer must have won.
fn all_lost(key: &KeyHistory<'_>, acknowledged: &[&Operation], last_us: u64) -> Option<Violation> {
    let mut states = key.finals.iter().filter_map(|state| state.state.as_ref());
    let write = acknowledged.iter().find(|write| write.value().is_some())?;
    let empty = states.all(|state| state.siblings.is_empty());
    (empty && !key.may_be_reaped(last_us)).then(|| {
        let what = "values were acknowledged, and no owner holds any, or a tombstone".to_owned();
        violation(key, what, slice::from_ref(*write))
    })
}

fn violation(key: &KeyHistory<'_>, what: String, writes: &[Operation]) -> Violation {
    Violation::of_key(Rule::NoLostUpdate, key.name, what, writes.iter())
}
