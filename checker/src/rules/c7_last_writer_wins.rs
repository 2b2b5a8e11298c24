//! C7, last writer wins: where that is the policy there is one value, the one with the largest stamp of all that
//! were acknowledged; and a write has a larger stamp than what its context covered
//! (`docs/protocol/versions.md`, "Last writer wins").
//!
//! Stamps are known as the versions that answers name. That a replaced value does not come back is
//! [C2](super::c2_no_resurrection).

use std::collections::BTreeMap;

use annulus_causality::{Actor, Counter, Dot, VersionVector};

use crate::history::History;
use crate::key_history::{KeyHistory, keys};
use crate::operation::{Operation, Outcome, Policy};
use crate::violation::{Rule, Violation};

/// Judges a history.
pub fn check(history: &History) -> Vec<Violation> {
    keys(history).iter().flat_map(check_key).collect()
}

/// Judges a key.
pub(crate) fn check_key(key: &KeyHistory<'_>) -> Vec<Violation> {
    if key.policy != Policy::Lww {
        return Vec::new();
    }
    let mut found = several(key);
    found.extend(inverted(key));
    // The one with the largest stamp may have been lost.
    if !key.may_lose {
        found.extend(beaten(key));
    }
    found
}

/// More than one value.
fn several(key: &KeyHistory<'_>) -> Vec<Violation> {
    let shown = key.readings.iter().filter_map(|reading| {
        let count = reading.found.values.len();
        let what = || format!("{} shows {count} values", reading.operation.id);
        (count > 1).then(|| violation(key, what(), [reading.operation]))
    });
    let held = key.finals.iter().filter_map(|owner| {
        let count = owner.state.as_ref()?.siblings.len();
        let what = || format!("at the end {} holds {count} siblings", owner.node);
        (count > 1).then(|| violation(key, what(), []))
    });
    shown.chain(held).collect()
}

/// A write with a lower version than what its context covered.
fn inverted(key: &KeyHistory<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let highest = highest_versions(key);
    for later in &key.writes {
        let (Some(context), Some(lower)) = (later.sent_context(), version_of(later)) else {
            continue;
        };
        if !covers_higher(&highest, context, lower) {
            continue;
        }
        for (dot, version, earlier) in versions(key) {
            if context.covers(dot) && earlier.id != later.id && lower < version {
                let what = format!(
                    "{} has version {lower}, and its context covers {} with version {version}",
                    later.id, earlier.id
                );
                found.push(violation(key, what, [earlier, later]));
            }
        }
    }
    found
}

/// By actor, by ascending counter: the highest version of its events until then.
type Highest = BTreeMap<Actor, Vec<(Counter, u64)>>;

fn highest_versions(key: &KeyHistory<'_>) -> Highest {
    let mut known: Vec<_> = versions(key)
        .map(|(dot, version, _)| (dot, version))
        .collect();
    known.sort_unstable();
    let mut highest = Highest::new();
    for (dot, version) in known {
        let events = highest.entry(dot.actor).or_default();
        let before = events.last().map_or(0, |&(_, version)| version);
        events.push((dot.counter, before.max(version)));
    }
    highest
}

/// Whether the context covers an event with a higher version.
fn covers_higher(highest: &Highest, context: &VersionVector, version: u64) -> bool {
    context.iter().any(|(actor, counter)| {
        highest.get(&actor).is_some_and(|events| {
            let covered = events.partition_point(|&(event, _)| event <= counter);
            covered > 0 && events[covered - 1].1 > version
        })
    })
}

/// The final value has a lower version than an acknowledged one.
fn beaten(key: &KeyHistory<'_>) -> Vec<Violation> {
    let Some(first) = key.first_final_us() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for owner in &key.finals {
        let siblings = owner.state.iter().flat_map(|state| &state.siblings);
        let winner = siblings.max_by_key(|sibling| (sibling.stamp, sibling.dot));
        let Some(winner) = winner else { continue };
        let known = versions(key).find(|(dot, _, _)| *dot == winner.dot);
        let Some((_, winning, winner)) = known else {
            continue;
        };
        let larger = key.writes.iter().find(|write| {
            let in_time = write.acknowledged_at_us().is_some_and(|at| at < first);
            in_time && write.id != winner.id && version_of(write).is_some_and(|v| v > winning)
        });
        if let Some(larger) = larger {
            let what = format!(
                "at the end {} holds the value of {} (version {winning}), although {} was acknowledged \
                 with a larger version",
                owner.node, winner.id, larger.id
            );
            found.push(violation(key, what, [*larger, winner]));
        }
    }
    found
}

/// The dots whose version is known for certain.
fn versions<'k>(key: &'k KeyHistory<'_>) -> impl Iterator<Item = (Dot, u64, &'k Operation)> {
    key.writes.iter().flat_map(|write| {
        let attempts = write.attempts.iter();
        attempts.filter_map(move |attempt| match &attempt.outcome {
            Outcome::Written(written) => Some((written.dot?, written.version?, *write)),
            _ => None,
        })
    })
}

fn version_of(write: &Operation) -> Option<u64> {
    write.version()
}

fn violation<'o>(
    key: &KeyHistory<'_>,
    what: String,
    operations: impl IntoIterator<Item = &'o Operation>,
) -> Violation {
    Violation::of_key(Rule::LastWriterWins, key.name, what, operations)
}
