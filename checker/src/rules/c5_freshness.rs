//! C5, freshness: a read with R + W > N sees every write that was acknowledged before it began, or what replaced
//! it; and a later quorum read has seen all that an earlier one had (`docs/protocol/reads-and-writes.md`, "A read").

use annulus_causality::VersionVector;

use crate::history::History;
use crate::key_history::{KeyHistory, Reading, keys};
use crate::operation::{Consistency, Kind, Operation, Policy};
use crate::replacement::acknowledged_dots_before;
use crate::violation::{Rule, Violation};

/// Judges a history.
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    for key in keys(history) {
        for write in &key.writes {
            found.extend(check_write(&key, write));
        }
        found.extend(backwards(&key));
    }
    found
}

/// The reads that had to see the write.
fn check_write(key: &KeyHistory<'_>, write: &Operation) -> Vec<Violation> {
    let Some(acknowledged) = write.acknowledged_at_us() else {
        return Vec::new();
    };
    let replaced_from = key.may_be_replaced_from(write).unwrap_or(u64::MAX);
    let bound = key.readings.iter().filter(|reading| {
        acknowledged < reading.invoked_at_us && reading.consistency().reads_every(write.consistency)
    });
    let missed = bound.filter_map(|reading| {
        let how = unseen(key, write, reading).or_else(|| match key.policy {
            Policy::Siblings => missing(key, write, reading, replaced_from),
            Policy::Lww => outdated(key, write, reading),
        })?;
        let what = format!(
            "{} began after {} was acknowledged, and {how}",
            reading.operation.id, write.id
        );
        let operations = [write, reading.operation];
        Some(Violation::of_key(
            Rule::Freshness,
            key.name,
            what,
            operations,
        ))
    });
    missed.collect()
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
