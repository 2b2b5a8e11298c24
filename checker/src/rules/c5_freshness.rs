//! C5, freshness: a read with R + W > N sees every write that was acknowledged before it began, or what replaced
//! it; and a later quorum read has seen all that an earlier one had (`docs/protocol/reads-and-writes.md`, "A read").

use annulus_causality::VersionVector;

use crate::due::Due;
use crate::history::History;
use crate::key_history::{KeyHistory, Reading, keys};
use crate::operation::{Consistency, Kind, Operation, Policy};
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
    let mut found = Vec::new();
    let due = Due::of(key);
    for reading in &key.readings {
        if due.may_be_missed(key, reading) {
            found.extend(missed_by(key, reading));
        }
    }
    if key.policy == Policy::Siblings {
        found.extend(key.writes.iter().flat_map(|write| not_shown(key, write)));
    }
    found.extend(backwards(key));
    found
}

/// Whether the read had to see the write.
fn is_bound(write: &Operation, reading: &Reading<'_>) -> bool {
    let acknowledged = write.acknowledged_at_us();
    acknowledged.is_some_and(|at| at < reading.invoked_at_us)
        && reading.consistency().reads_every(write.consistency)
}

/// The writes that the read had to see, and did not.
fn missed_by(key: &KeyHistory<'_>, reading: &Reading<'_>) -> Vec<Violation> {
    let due = key.writes.iter().filter(|write| is_bound(write, reading));
    let missed = due.filter_map(|write| {
        let how = unseen(key, write, reading).or_else(|| match key.policy {
            Policy::Siblings => None,
            Policy::Lww => outdated(key, write, reading),
        })?;
        Some(missed(key, write, reading, &how))
    });
    missed.collect()
}

/// The reads whose context knows the write, and that do not show it.
fn not_shown(key: &KeyHistory<'_>, write: &Operation) -> Vec<Violation> {
    let Some(acknowledged) = write.acknowledged_at_us() else {
        return Vec::new();
    };
    let replaced_from = key.may_be_replaced_from(write).unwrap_or(u64::MAX);
    let first = key
        .readings
        .partition_point(|reading| reading.invoked_at_us <= acknowledged);
    let readings = key.readings[first..]
        .iter()
        .take_while(|reading| reading.invoked_at_us < replaced_from)
        .filter(|reading| is_bound(write, reading));
    let not_shown = readings.filter_map(|reading| {
        let how = missing(key, write, reading, replaced_from)?;
        let is_said = unseen(key, write, reading).is_some();
        (!is_said).then(|| missed(key, write, reading, &how))
    });
    not_shown.collect()
}

fn missed(key: &KeyHistory<'_>, write: &Operation, reading: &Reading<'_>, how: &str) -> Violation {
    let what = format!(
        "{} began after {} was acknowledged, and {how}",
        reading.operation.id, write.id
    );
    let operations = [write, reading.operation];
    Violation::of_key(Rule::Freshness, key.name, what, operations)
}

/// The answer's context does not know the write.
fn unseen(key: &KeyHistory<'_>, write: &Operation, reading: &Reading<'_>) -> Option<String> {
    let context = reading.found.context.as_ref()?;
    let mut dots = acknowledged_dots_before(write, reading.invoked_at_us);
    let dot = dots.find(|dot| !context.covers(*dot))?;
    let may_be_forgotten = key.may_be_reaped(reading.completed_at_us);
    (!may_be_forgotten).then(|| format!("its context does not cover {dot}"))
}

/// The value is not shown, and nothing can have replaced it.
fn missing(
    key: &KeyHistory<'_>,
    put: &Operation,
    reading: &Reading<'_>,
    replaced_from: u64,
) -> Option<String> {
    let value = put.value()?;
    let accounted_for = reading.shows(value)
        || replaced_from <= reading.completed_at_us
        || key.may_be_expired(put, reading.completed_at_us);
    (!accounted_for).then(|| format!("does not show {value}, which nothing has replaced"))
}

/// Where the last writer wins: an older version is shown, or nothing, and nothing can have ended the value.
fn outdated(key: &KeyHistory<'_>, put: &Operation, reading: &Reading<'_>) -> Option<String> {
    let value = put.value()?;
    if reading.found.values.is_empty() {
        let ended = may_have_ended(key, put, reading.completed_at_us);
        return (!ended).then(|| format!("shows nothing; {value} was neither deleted nor expired"));
    }
    let (written, shown) = (put.version()?, reading.found.version?);
    (shown < written).then(|| format!("shows version {shown}, older than {written}"))
}

/// Whether a delete, or a value with a time to live, may have a larger stamp than the put.
fn may_have_ended(key: &KeyHistory<'_>, put: &Operation, at_us: u64) -> bool {
    let skew = key.tolerance.clock_skew_us;
    key.writes.iter().any(|other| {
        let latest_stamp = key.latest_mint_us(other).saturating_add(skew);
        let may_win = other.invoked_at_us() <= at_us
            && latest_stamp >= put.invoked_at_us().saturating_sub(skew);
        let ends = matches!(other.kind, Kind::Delete { .. }) || key.may_be_expired(other, at_us);
        may_win && ends
    })
}

/// When a read ended, what it and those before it had seen, and the read.
type SeenBy<'h> = (u64, VersionVector, &'h Operation);

/// Quorum reads whose context lacks part of an earlier quorum read's. What a quorum read shows is on
/// `min(W, R)` owners before it answers.
fn backwards(key: &KeyHistory<'_>) -> Vec<Violation> {
    let mut classes: Vec<(Consistency, Vec<SeenBy<'_>>)> = Vec::new();
    let mut by_end: Vec<&Reading<'_>> = key.readings.iter().collect();
    by_end.sort_by_key(|reading| reading.completed_at_us);
    for reading in by_end {
        let Some(context) = reading.found.context.clone() else {
            continue;
        };
        let class = reading.consistency();
        let at = classes.iter().position(|(known, _)| *known == class);
        let at = at.unwrap_or_else(|| {
            classes.push((class, Vec::new()));
            classes.len() - 1
        });
        let seen = &mut classes[at].1;
        let mut joined = seen
            .last()
            .map(|(_, joined, _)| joined.clone())
            .unwrap_or_default();
        joined.join(&context);
        seen.push((reading.completed_at_us, joined, reading.operation));
    }
    let mut found = Vec::new();
    for reading in &key.readings {
        let Some(context) = &reading.found.context else {
            continue;
        };
        for (class, seen) in classes
            .iter()
            .filter(|(class, _)| keeps_up(*class, reading.consistency()))
        {
            let before = seen.partition_point(|(end, _, _)| *end < reading.invoked_at_us);
            // Each is the join of those before: the last says it all.
            let last = seen[..before].last();
            if last.is_none_or(|(_, seen, _)| context.descends(seen)) {
                continue;
            }
            let lacking = seen[..before]
                .iter()
                .find(|(_, seen, _)| !context.descends(seen));
            if let Some((_, _, earlier)) = lacking
                && !key.may_be_reaped(reading.completed_at_us)
            {
                let what = format!(
                    "{} has not seen all that the earlier read {} had (R = {}, W = {})",
                    reading.operation.id, earlier.id, class.r, class.w
                );
                let operations = [*earlier, reading.operation];
                found.push(Violation::of_key(
                    Rule::Freshness,
                    key.name,
                    what,
                    operations,
                ));
            }
        }
    }
    found
}

/// Whether a later read is bound to what an earlier one has seen.
fn keeps_up(earlier: Consistency, later: Consistency) -> bool {
    let n = u16::from(earlier.n.max(later.n));
    let held = u16::from(earlier.r.min(earlier.w));
    let waited = u16::from(earlier.r) > u16::from(earlier.n) / 2;
    waited && u16::from(later.r) + held > n
}
