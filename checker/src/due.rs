//! An index of what reads have to see, which clears most reads at once.
//!
//! It errs on one side only: a read that [`Due::may_be_missed`] clears has seen all that
//! [C5](crate::rules::c5_freshness) asks of it, except for values that its context covers.

use annulus_causality::{Dot, VersionVector};

use crate::as_of::last_before;
use crate::key_history::{KeyHistory, Reading};
use crate::operation::{Consistency, Kind, Operation, Policy};
use crate::replacement::ttl_us;

/// See the module.
#[derive(Debug)]
pub(crate) struct Due {
    classes: Vec<Class>,
    /// Where the last writer wins: deletes and times to live, by the time from which a value may be ended by
    /// them, with the largest stamp of any until then.
    ends: Vec<(u64, u64)>,
}

/// The acknowledged writes that ran with the same numbers.
#[derive(Debug)]
struct Class {
    consistency: Consistency,
    /// By acknowledgement: the join of all dots until then.
    dots: Vec<(u64, VersionVector)>,
    /// By acknowledgement: when the youngest put until then began, and the highest version until then.
    puts: Vec<(u64, (u64, Option<u64>))>,
}

impl Due {
    pub(crate) fn of(key: &KeyHistory<'_>) -> Self {
        let mut classes: Vec<(Consistency, Vec<&Operation>)> = Vec::new();
        for write in &key.writes {
            match classes
                .iter_mut()
                .find(|(class, _)| *class == write.consistency)
            {
                Some((_, writes)) => writes.push(write),
                None => classes.push((write.consistency, vec![write])),
            }
        }
        let classes = classes
            .into_iter()
            .map(|(consistency, writes)| Class::of(consistency, &writes));
        Self {
            classes: classes.collect(),
            ends: match key.policy {
                Policy::Lww => ends(key),
                Policy::Siblings => Vec::new(),
            },
        }
    }

    /// Whether there may be an acknowledged write that the read has missed.
    pub(crate) fn may_be_missed(&self, key: &KeyHistory<'_>, reading: &Reading<'_>) -> bool {
        let met = |class: &&Class| reading.consistency().reads_every(class.consistency);
        self.classes.iter().filter(met).any(|class| {
            let due = last_before(&class.dots, reading.invoked_at_us);
            let context = reading.found.context.as_ref();
            let unseen = due
                .zip(context)
                .is_some_and(|(due, context)| !context.descends(due));
            unseen || (key.policy == Policy::Lww && self.may_be_outdated(key, class, reading))
        })
    }

    fn may_be_outdated(&self, key: &KeyHistory<'_>, class: &Class, reading: &Reading<'_>) -> bool {
        let Some(&(began, version)) = last_before(&class.puts, reading.invoked_at_us) else {
            return false;
        };
        if !reading.found.values.is_empty() {
            return version
                .zip(reading.found.version)
                .is_some_and(|(due, shown)| shown < due);
        }
        let by = reading.completed_at_us.saturating_add(1);
        let ended = last_before(&self.ends, by);
        ended.is_none_or(|&stamp| stamp < began.saturating_sub(key.tolerance.clock_skew_us))
    }
}

impl Class {
    fn of(consistency: Consistency, writes: &[&Operation]) -> Self {
        let mut named: Vec<(u64, Dot)> = writes
            .iter()
            .flat_map(|write| &write.attempts)
            .filter_map(|attempt| Some((attempt.completed_at_us?, attempt.outcome.dot()?)))
            .collect();
        named.sort_unstable();
        let mut joined = VersionVector::new();
        let dots = named.into_iter().map(|(at, dot)| {
            joined.insert(dot);
            (at, joined.clone())
        });
        let dots = dots.collect();
        let mut puts: Vec<_> = writes
            .iter()
            .filter(|write| write.value().is_some())
            .filter_map(|put| {
                let acknowledged_at_us = put.acknowledged_at_us()?;
                Some((acknowledged_at_us, (put.invoked_at_us(), put.version())))
            })
            .collect();
        puts.sort_unstable();
        let (mut youngest, mut highest) = (0, None);
        for (_, (began, version)) in &mut puts {
            youngest = youngest.max(*began);
            highest = highest.max(*version);
            (*began, *version) = (youngest, highest);
        }
        Self {
            consistency,
            dots,
            puts,
        }
    }
}

fn ends(key: &KeyHistory<'_>) -> Vec<(u64, u64)> {
    let skew = key.tolerance.clock_skew_us;
    let ends = key.writes.iter().filter_map(|write| {
        let began = write.invoked_at_us();
        let from = match write.kind {
            Kind::Delete { .. } => began,
            _ => began.max(began.saturating_add(ttl_us(write)?).saturating_sub(skew)),
        };
        Some((from, key.latest_mint_us(write).saturating_add(skew)))
    });
    let mut ends: Vec<_> = ends.collect();
    ends.sort_unstable();
    let mut largest = 0;
    for (_, stamp) in &mut ends {
        largest = largest.max(*stamp);
        *stamp = largest;
    }
    ends
}
