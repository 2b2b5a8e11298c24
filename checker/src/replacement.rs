//! What may have taken a value away, and what must have: the two sides of soundness.
//!
//! A rule that misses a value asks what *may* have replaced it: any write that wasn't rejected, at any time since
//! it began, with what its context covers for certain or may cover. A rule that finds a value it should not asks
//! what *must* have replaced it: acknowledged writes, and only the events that their context covers for certain.
//!
//! A request can have become two events (its first owner's answer was lost, a second owner wrote it too); one of
//! them is enough to replace both, and it need not be among the dots that the recording names. So a context that
//! covers an event of no known operation may cover any value that was written since nobody had seen that event.

use std::collections::HashMap;

use annulus_causality::Dot;

use crate::key_history::KeyHistory;
use crate::operation::{Deleted, Kind, Operation, OperationId, Outcome, Verdict};

impl KeyHistory<'_> {
    /// From when on the put's value may have been replaced; none if by nothing.
    pub(crate) fn may_be_replaced_from(&self, put: &Operation) -> Option<u64> {
        self.replaced_from.get(&put.id).copied()
    }

    /// [`Self::may_be_replaced_from`] of all puts.
    pub(crate) fn index_replacements(&self) -> HashMap<OperationId, u64> {
        // By position in `writes`: the last moment at which an earlier delete without context can look.
        let mut latest_looks = Vec::with_capacity(self.writes.len() + 1);
        latest_looks.push(None);
        for write in &self.writes {
            let is_blind =
                matches!(write.kind, Kind::Delete { .. }) && write.sent_context().is_none();
            let look = is_blind.then(|| self.latest_effect_us(write));
            latest_looks.push(look.max(latest_looks.last().copied().flatten()));
        }
        let puts = self.puts().filter_map(|(put, _)| {
            let began = put.invoked_at_us();
            // By the time that they began. A context that is older than the value does not cover it.
            let first = self
                .writes
                .partition_point(|other| other.invoked_at_us() < began);
            if latest_looks[first].is_some_and(|look| look >= began) {
                return Some((put.id, began));
            }
            let mut others = self.writes[first..]
                .iter()
                .filter(|other| other.id != put.id);
            let from = others.find_map(|other| self.may_cover(other, put))?;
            Some((put.id, from))
        });
        puts.collect()
    }

    /// Whether `at_us` is a time at which the put's value may have been replaced.
    pub(crate) fn may_be_replaced_by(&self, put: &Operation, at_us: u64) -> bool {
        self.may_be_replaced_from(put)
            .is_some_and(|from| from <= at_us)
    }

    fn may_cover(&self, write: &Operation, put: &Operation) -> Option<u64> {
        if write.sent_context().is_some() {
            self.context_may_cover(write, put)
                .then(|| write.invoked_at_us())
        } else if matches!(write.kind, Kind::Delete { .. }) {
            let in_time = self.latest_effect_us(write) >= put.invoked_at_us();
            in_time.then(|| write.invoked_at_us().max(put.invoked_at_us()))
        } else {
            None
        }
    }

    fn context_may_cover(&self, write: &Operation, put: &Operation) -> bool {
        let Some(context) = write.sent_context() else {
            return false;
        };
        // The client had its context before it asked.
        if write.invoked_at_us() < put.invoked_at_us() {
            return false;
        }
        let dots = self.dots_of(put);
        if dots.iter().any(|dot| context.covers(*dot)) {
            return true;
        }
        if !dots.is_empty() && self.has_one_dot(put) {
            return false;
        }
        self.covers_unknown(context, put.invoked_at_us())
    }

    /// The last moment at which a delete without context can look for what it deletes.
    fn latest_effect_us(&self, delete: &Operation) -> u64 {
        match delete.acknowledged_at_us() {
            None => u64::MAX,
            Some(_) => self.latest_mint_us(delete),
        }
    }

    /// The last moment, by the recorder's clock, at which a node can have given the write a dot.
    pub(crate) fn latest_mint_us(&self, write: &Operation) -> u64 {
        let deadline = write
            .last_invoked_at_us()
            .saturating_add(self.tolerance.deadline_us);
        match write.acknowledged_at_us() {
            Some(acknowledged) if self.has_one_dot(write) => acknowledged,
            acknowledged => acknowledged.unwrap_or(0).max(deadline),
        }
    }

    /// Whether the put's time to live may be over.
    pub(crate) fn may_be_expired(&self, put: &Operation, at_us: u64) -> bool {
        let skew = self.tolerance.clock_skew_us;
        ttl_us(put).is_some_and(|ttl| {
            put.invoked_at_us().saturating_add(ttl) <= at_us.saturating_add(skew)
        })
    }

    /// Whether the put's time to live is over for certain.
    pub(crate) fn must_be_expired(&self, put: &Operation, at_us: u64) -> bool {
        let minted = self.latest_mint_us(put);
        let limit = minted.saturating_add(self.tolerance.clock_skew_us);
        ttl_us(put).is_some_and(|ttl| limit.saturating_add(ttl) < at_us)
    }

    /// Whether the key may have been forgotten altogether: deleted or expired, and reaped.
    pub(crate) fn may_be_reaped(&self, at_us: u64) -> bool {
        self.reaped_from.is_some_and(|from| from <= at_us)
    }

    /// The first moment at which the key may be reaped: all that its owners know is then older than the reap
    /// age, so a write that was acknowledged within that time, which some owner knows, holds it up. A delete that found
    /// nothing is none.
    pub(crate) fn find_reaped_from(&self) -> Option<u64> {
        let tolerance = self.tolerance;
        let age = tolerance
            .reap_age_us
            .saturating_sub(tolerance.clock_skew_us);
        let ends = |write: &&Operation| {
            matches!(write.kind, Kind::Delete { .. }) || ttl_us(write).is_some()
        };
        let first_end = self.writes.iter().copied().find(ends)?.invoked_at_us();
        let spans: Vec<(u64, u64)> = self
            .writes
            .iter()
            .filter(|write| !deleted_nothing(write))
            .filter_map(|write| Some((write.invoked_at_us(), write.acknowledged_at_us()?)))
            .collect();
        let after_each = spans.iter().map(|(invoked, _)| invoked.saturating_add(1));
        let begins = after_each
            .filter(|begin| *begin >= first_end)
            .chain([first_end]);
        let is_quiet = |begin: &u64| {
            let end = begin.saturating_add(age);
            !spans
                .iter()
                .any(|(invoked, acknowledged)| invoked >= begin && *acknowledged <= end)
        };
        begins
            .filter(is_quiet)
            .min()
            .map(|begin| begin.saturating_add(age))
    }
}

/// Whether [`must_cover`] can hold of the write at all: it certainly wrote.
pub(crate) fn certainly_wrote(write: &Operation) -> bool {
    says_that_it_wrote(write) && !deleted_nothing(write)
}

/// Whether an acknowledged write certainly replaced the event.
pub(crate) fn must_cover(write: &Operation, dot: Dot, put: Option<&Operation>) -> bool {
    if write.acknowledged_dots().any(|own| own == dot) || deleted_nothing(write) {
        return false;
    }
    if let Some(context) = write.sent_context() {
        return says_that_it_wrote(write) && context.covers(dot);
    }
    // A delete without context deletes what its own read shows: all that was acknowledged before.
    let is_delete = matches!(write.kind, Kind::Delete { .. });
    is_delete
        && says_that_it_wrote(write)
        && put.is_some_and(|put| {
            write.consistency.reads_every(put.consistency)
                && acknowledged_before(put, dot, write.invoked_at_us())
        })
}

/// Whether the dot was acknowledged before that time.
pub(crate) fn acknowledged_before(write: &Operation, dot: Dot, at_us: u64) -> bool {
    acknowledged_dots_before(write, at_us).any(|acknowledged| acknowledged == dot)
}

/// The dots of a write that were acknowledged before that time.
pub(crate) fn acknowledged_dots_before(
    write: &Operation,
    at_us: u64,
) -> impl Iterator<Item = Dot> + '_ {
    let in_time = write
        .attempts
        .iter()
        .filter(move |attempt| attempt.completed_at_us.is_some_and(|end| end < at_us));
    in_time.filter_map(|attempt| attempt.outcome.dot())
}

/// The time to live of a put.
pub(crate) fn ttl_us(write: &Operation) -> Option<u64> {
    match &write.kind {
        Kind::Put { ttl_us, .. } => *ttl_us,
        _ => None,
    }
}

/// Whether an answer says that there was nothing to delete: then maybe nothing was written.
fn deleted_nothing(write: &Operation) -> bool {
    write.attempts.iter().any(|attempt| {
        matches!(
            &attempt.outcome,
            Outcome::Deleted(Deleted {
                existed: Some(false),
                ..
            })
        )
    })
}

/// Whether the acknowledgement is one of a write, not of a delete that may have found nothing.
fn says_that_it_wrote(write: &Operation) -> bool {
    match write.kind {
        Kind::Put { .. } => write.verdict() == Verdict::Ok,
        Kind::Delete { .. } => write.attempts.iter().any(|attempt| {
            matches!(
                &attempt.outcome,
                Outcome::Deleted(Deleted {
                    existed: Some(true),
                    ..
                })
            )
        }),
        Kind::Get { .. } => false,
    }
}
