//! C2, no resurrection: a value whose replacement was acknowledged never reappears in a read that meets every
//! acknowledged write, nor at the end; an expired one neither (`docs/protocol/versions.md`, "State and merge").
//!
//! Judged by dots: a request that was written twice may lawfully come back under its second dot. By value only in
//! runs where no answer got lost.

use annulus_causality::Dot;

use crate::history::History;
use crate::key_history::{KeyHistory, Reading, keys};
use crate::operation::{Operation, ValueId};
use crate::removed::Removed;
use crate::replacement::must_cover;
use crate::violation::{Rule, Violation};

/// Judges a history.
pub fn check(history: &History) -> Vec<Violation> {
    keys(history).iter().flat_map(check_key).collect()
}

/// Judges a key.
pub(crate) fn check_key(key: &KeyHistory<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let removed = Removed::of(key);
    for reading in &key.readings {
        for shown in &reading.found.values {
            // A remover may have been lost.
            if !key.may_lose {
                found.extend(resurrected(key, &removed, reading, &shown.value, shown.dot));
            }
            found.extend(outlived(key, reading, &shown.value));
        }
    }
    if !key.may_lose {
        found.extend(held_at_the_end(key, &removed));
    }
    found
}

/// A shown value that an acknowledged write had replaced.
fn resurrected(
    key: &KeyHistory<'_>,
    removed: &Removed,
    reading: &Reading<'_>,
    value: &ValueId,
    dot: Option<Dot>,
) -> Option<Violation> {
    let put = key.put_of(value);
    let only = put.filter(|put| key.has_one_dot(put));
    let dots = only.map_or(&[][..], |put| key.dots_of(put));
    let read_by = Some(reading.consistency());
    let mut names = dot.iter().chain(dots).copied();
    if !names.any(|dot| removed.may_hold(dot, put, reading.invoked_at_us, read_by)) {
        return None;
    }
    let (remover, dot) = removers(key, reading.invoked_at_us).find_map(|remover| {
        let meets = reading.consistency().reads_every(remover.consistency);
        let mut dots = dot.iter().chain(dots).copied();
        let gone = dots.find(|dot| meets && must_cover(remover, *dot, put));
        gone.map(|dot| (remover, dot))
    })?;
    let what = format!(
        "{} shows {value} ({dot}), which {} had replaced before that began",
        reading.operation.id, remover.id
    );
    let operations = put.into_iter().chain([remover, reading.operation]);
    Some(Violation::of_key(
        Rule::NoResurrection,
        key.name,
        what,
        operations,
    ))
}

/// A value that is shown after its time to live.
fn outlived(key: &KeyHistory<'_>, reading: &Reading<'_>, value: &ValueId) -> Option<Violation> {
    let put = key.put_of(value)?;
    key.must_be_expired(put, reading.invoked_at_us).then(|| {
        let what = format!(
            "{} shows {value} ({}) after its time to live",
            reading.operation.id, put.id
        );
        let operations = [put, reading.operation];
        Violation::of_key(Rule::NoResurrection, key.name, what, operations)
    })
}

/// Siblings that owners still hold although an acknowledged write had replaced them.
fn held_at_the_end(key: &KeyHistory<'_>, removed: &Removed) -> Vec<Violation> {
    let mut found = Vec::new();
    for owner in &key.finals {
        let siblings = owner.state.iter().flat_map(|state| &state.siblings);
        for sibling in siblings {
            let put = sibling.value.as_ref().and_then(|value| key.put_of(value));
            if !removed.may_hold(sibling.dot, put, owner.at_us, None) {
                continue;
            }
            let remover =
                removers(key, owner.at_us).find(|remover| must_cover(remover, sibling.dot, put));
            if let Some(remover) = remover {
                let what = format!(
                    "at the end {} holds {}, which {} had replaced",
                    owner.node, sibling.dot, remover.id
                );
                let operations = put.into_iter().chain([remover]);
                found.push(Violation::of_key(
                    Rule::NoResurrection,
                    key.name,
                    what,
                    operations,
                ));
            }
        }
    }
    found
}

/// Writes that were acknowledged before that time.
fn removers<'k>(key: &'k KeyHistory<'_>, before_us: u64) -> impl Iterator<Item = &'k Operation> {
    let writes = key.writes.iter().copied();
    writes.filter(move |write| write.acknowledged_at_us().is_some_and(|at| at < before_us))
}
