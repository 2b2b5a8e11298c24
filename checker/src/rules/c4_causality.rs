//! C4, causality: a context covers what is shown with it, and nothing that is neither shown nor replaced; an answer
//! has seen what it was asked to have seen; a dot names one value, for ever (`docs/protocol/versions.md`).
//!
//! A context that covers too much is a lost update to come: the next write with it replaces what nobody saw.
//! Contexts of puts are not judged so: as version vectors they cover all earlier events of the minting vnode.

use std::collections::BTreeMap;

use annulus_causality::{Dot, VersionVector};

use crate::history::History;
use crate::key_history::{KeyHistory, Reading, keys};
use crate::operation::{Deleted, Kind, Operation, OperationId, Outcome, Policy, ValueId, Written};
use crate::violation::{Rule, Violation};

/// Judges a history.
pub fn check(history: &History) -> Vec<Violation> {
    keys(history).iter().flat_map(check_key).collect()
}

/// Judges a key.
pub(crate) fn check_key(key: &KeyHistory<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for reading in &key.readings {
        found.extend(check_reading(key, reading));
    }
    if key.policy == Policy::Siblings {
        found.extend(hidden(key));
    }
    for write in &key.writes {
        found.extend(check_write(key, write));
    }
    found.extend(check_names(key));
    found
}

fn check_reading(key: &KeyHistory<'_>, reading: &Reading<'_>) -> Vec<Violation> {
    let Some(context) = &reading.found.context else {
        return Vec::new();
    };
    let id = reading.operation.id;
    let mut found = Vec::new();
    for shown in &reading.found.values {
        if let Some(dot) = shown.dot.filter(|dot| !context.covers(*dot)) {
            let what = format!(
                "{id} shows {} ({dot}), which its context does not cover",
                shown.value
            );
            found.push(violation(key, what, [reading.operation]));
        }
    }
    if let Kind::Get {
        min_context: Some(asked),
    } = &reading.operation.kind
        && !context.descends(asked)
        && !key.may_be_reaped(reading.completed_at_us)
    {
        let what = format!("{id} has not seen the context that it was asked to have seen");
        found.push(violation(key, what, [reading.operation]));
    }
    found
}

/// Values that an answer's context covers, and that it neither shows nor anything can have replaced.
fn hidden(key: &KeyHistory<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for (put, value) in key.puts() {
        let replaced_from = key.may_be_replaced_from(put).unwrap_or(u64::MAX);
        let (dots, began) = (key.dots_of(put), put.invoked_at_us());
        // What ended before the put began knows nothing of it, unless something is very wrong.
        let from = if key.had_seen(dots, began) { 0 } else { began };
        let readings = key.readings_ended_from(from).iter();
        for reading in readings.take_while(|reading| reading.completed_at_us < replaced_from) {
            let Some(context) = &reading.found.context else {
                continue;
            };
            let covered = dots.iter().find(|dot| context.covers(**dot));
            let Some(dot) = covered else { continue };
            let accounted_for =
                reading.shows(value) || key.may_be_expired(put, reading.completed_at_us);
            if !accounted_for {
                let what = format!(
                    "the context of {} covers {value} ({}, {dot}), which is neither shown nor replaced",
                    reading.operation.id, put.id
                );
                found.push(violation(key, what, [put, reading.operation]));
            }
        }
    }
    found
}

/// A write's answer has seen what was sent, and the write.
fn check_write(key: &KeyHistory<'_>, write: &Operation) -> Vec<Violation> {
    let mut found = Vec::new();
    for attempt in &write.attempts {
        let (Outcome::Written(Written { context, dot, .. })
        | Outcome::Deleted(Deleted { context, dot, .. })) = &attempt.outcome
        else {
            continue;
        };
        let Some(context) = context else { continue };
        let sent = write.sent_context();
        if dot.is_some_and(|dot| !context.covers(dot)) {
            let what = format!(
                "the context returned to {} does not cover the write",
                write.id
            );
            found.push(violation(key, what, [write]));
        }
        if sent.is_some_and(|sent: &VersionVector| !context.descends(sent)) {
            let what = format!(
                "the context returned to {} covers less than was sent",
                write.id
            );
            found.push(violation(key, what, [write]));
        }
    }
    found
}

/// What a dot names, and who says so.
type Names<'h> = BTreeMap<Dot, (Option<&'h ValueId>, Option<OperationId>)>;

/// A dot names one value (or one tombstone), and one request has one dot where no answer was lost.
fn check_names(key: &KeyHistory<'_>) -> Vec<Violation> {
    let written = key.writes.iter().flat_map(|write| {
        let dots = write.acknowledged_dots();
        dots.map(move |dot| (dot, write.value(), Some(write.id)))
    });
    let shown = key.readings.iter().flat_map(|reading| {
        let shown = reading.found.values.iter();
        shown.filter_map(|shown| Some((shown.dot?, Some(&shown.value), Some(reading.operation.id))))
    });
    let states = key.finals.iter().filter_map(|owner| owner.state.as_ref());
    let siblings = states.flat_map(|state| &state.siblings);
    // The bytes of an expired value may be gone.
    let held =
        siblings.filter(|sibling| sibling.value.is_some() || sibling.expires_at_ms.is_none());
    let held = held.map(|sibling| (sibling.dot, sibling.value.as_ref(), None));
    let mut names = Names::new();
    let mut found = Vec::new();
    for (dot, value, by) in written.chain(shown).chain(held) {
        let &mut (named, first) = names.entry(dot).or_insert((value, by));
        if named != value {
            let text =
                |value: Option<&ValueId>| value.map_or("a delete".to_owned(), ToString::to_string);
            found.push(Violation {
                rule: Rule::Causality,
                key: Some(key.name.clone()),
                what: format!("dot {dot} names {} and {}", text(named), text(value)),
                operations: first.into_iter().chain(by).collect(),
            });
        }
    }
    for (put, value) in key.puts().filter(|(put, _)| key.has_one_dot(put)) {
        if let [first, second, ..] = key.dots_of(put) {
            let what = format!(
                "{value} ({}) was written twice, as {first} and {second}",
                put.id
            );
            found.push(violation(key, what, [put]));
        }
    }
    found
}

fn violation<'o>(
    key: &KeyHistory<'_>,
    what: String,
    operations: impl IntoIterator<Item = &'o Operation>,
) -> Violation {
    Violation::of_key(Rule::Causality, key.name, what, operations)
}
