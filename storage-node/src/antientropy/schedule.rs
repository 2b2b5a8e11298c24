//! Which comparison is next. Pure: it is told of placements, of nodes that go and come, of requests and of
//! results, and draws its random numbers from its caller.
//!
//! Of two owners of a partition the one with the lower id begins their regular comparisons, so that each pair is
//! compared once an interval. When asked for, either begins one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use annulus_ring::{NodeId, PartitionId};
use tokio::time::Instant;

/// Two copies: this node's of a partition, and another owner's.
pub(super) type PairId = (PartitionId, NodeId);

/// Why a comparison is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// Its time has come.
    Interval,
    /// The other owner was away for long.
    Returned,
    /// The last try failed, or left something to do.
    Again,
    /// Somebody has asked.
    Asked,
    /// Writes that the other owner missed are not kept for it any more.
    HintsDropped,
    /// A scrub has found a tree that was not that of its data.
    Scrubbed,
}

impl Reason {
    /// As metrics name it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Returned => "returned",
            Self::Again => "again",
            Self::Asked => "asked",
            Self::HintsDropped => "hints_dropped",
            Self::Scrubbed => "scrubbed",
        }
    }
}

/// When comparisons are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    /// Between two comparisons of a pair.
    pub(crate) interval: Duration,
    /// Nodes that come back after so long are compared at once.
    pub(crate) outage: Duration,
}

/// After a failure the next try comes this much later, and twice as much after each further one, but never
/// later than the interval.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// After a start the first comparisons are spread over this time.
const START_SPREAD: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
struct Pair {
    /// This node begins the regular comparisons.
    is_regular: bool,
    /// `None`: under way, or neither regular nor asked for.
    due: Option<(Instant, Reason)>,
    known_since: Instant,
    compared: Option<Instant>,
    failures: u32,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Compare(PairId, Reason),
    /// Nothing before then, unless something happens.
    Rest(Option<Instant>),
}

/// One regular comparison, for people and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ComparisonStatus {
    pub(crate) partition: PartitionId,
    pub(crate) peer: NodeId,
    /// How long ago the pair was last compared and found the same, or made so.
    pub(crate) compared_ago: Option<Duration>,
    /// The same, or how long the pair is known.
    pub(crate) lag: Duration,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Schedule {
    timing: Timing,
    pairs: BTreeMap<PairId, Pair>,
    away: BTreeMap<NodeId, Instant>,
}

impl Schedule {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            timing,
            pairs: BTreeMap::new(),
            away: BTreeMap::new(),
        }
    }

    /// These are the pairs from now on, each with whether this node begins its regular comparisons.
    pub(super) fn set_pairs(
        &mut self,
        pairs: impl Iterator<Item = (PairId, bool)>,
        now: Instant,
        mut draw: impl FnMut() -> u64,
    ) {
        let mut old = std::mem::take(&mut self.pairs);
        for (id, is_regular) in pairs {
            let pair = old.remove(&id).filter(|pair| pair.is_regular == is_regular);
            let pair = pair.unwrap_or_else(|| Pair {
                is_regular,
                due: is_regular.then(|| (now + share(START_SPREAD, draw()), Reason::Interval)),
                known_since: now,
                compared: None,
                failures: 0,
            });
            self.pairs.insert(id, pair);
        }
        let peers: BTreeSet<NodeId> = self.pairs.keys().map(|(_, peer)| *peer).collect();
        self.away.retain(|peer, _| peers.contains(peer));
    }

    /// The other nodes that it is about.
    pub(super) fn peers(&self) -> BTreeSet<NodeId> {
        self.pairs.keys().map(|(_, peer)| *peer).collect()
    }

    /// Whether a node can be asked now.
    pub(super) fn observe(&mut self, peer: NodeId, is_away: bool, now: Instant) {
        if is_away {
            self.away.entry(peer).or_insert(now);
            return;
        }
        let Some(since) = self.away.remove(&peer) else {
            return;
        };
        let was_long = now.saturating_duration_since(since) >= self.timing.outage;
        for ((_, of), pair) in &mut self.pairs {
            if *of == peer && pair.is_regular && was_long {
                pair.failures = 0;
                pair.hurry(now, Reason::Returned);
            }
        }
    }

    /// Compares a pair as soon as possible. Whether there is such a pair.
    pub(super) fn request(&mut self, id: PairId, reason: Reason, now: Instant) -> bool {
        let pair = self.pairs.get_mut(&id);
        pair.map(|pair| pair.hurry(now, reason)).is_some()
    }

    /// What to do now. A comparison is under way from here until [`Self::ended`] is told of it.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        let here = |(_, peer): &PairId| !self.away.contains_key(peer);
        let due = self.pairs.iter().filter(|(id, _)| here(id));
        let due = due.filter_map(|(id, pair)| pair.due.map(|(at, reason)| (at, *id, reason)));
        match due.min_by_key(|(at, id, _)| (*at, *id)) {
            Some((at, id, reason)) if at <= now => {
                if let Some(pair) = self.pairs.get_mut(&id) {
                    pair.due = None;
                }
                Next::Compare(id, reason)
            }
            next => Next::Rest(next.map(|(at, ..)| at)),
        }
    }

    /// A comparison that [`Self::next`] named has ended, well (all the same now) or not.
    pub(super) fn ended(&mut self, id: PairId, well: bool, now: Instant, draw: u64) {
        let interval = self.timing.interval;
        let Some(pair) = self.pairs.get_mut(&id) else {
            return;
        };
        if well {
            pair.compared = Some(now);
            pair.failures = 0;
            let later = interval.mul_f64(0.9) + share(interval.mul_f64(0.2), draw);
            let regular = pair.is_regular.then_some((now + later, Reason::Interval));
            // Asked for again meanwhile: that may be about something newer than what was compared.
            pair.due = pair.due.or(regular);
        } else {
            let doubled = FIRST_RETRY.saturating_mul(1 << pair.failures.min(10));
            let wait = doubled.min(LONGEST_RETRY).min(interval);
            pair.failures += 1;
            let wait = wait.mul_f64(0.5) + share(wait.mul_f64(0.5), draw);
            pair.due = Some((now + wait, Reason::Again));
        }
    }

    /// The regular comparisons.
    pub(super) fn statuses(&self, now: Instant) -> Vec<ComparisonStatus> {
        let regular = self.pairs.iter().filter(|(_, pair)| pair.is_regular);
        let status = |(&(partition, peer), pair): (&PairId, &Pair)| {
            let since = |at: Instant| now.saturating_duration_since(at);
            ComparisonStatus {
                partition,
                peer,
                compared_ago: pair.compared.map(since),
                lag: since(pair.compared.unwrap_or(pair.known_since)),
            }
        };
        regular.map(status).collect()
    }
}

impl Pair {
    fn hurry(&mut self, now: Instant, reason: Reason) {
        if self.due.is_none_or(|(at, _)| at > now) {
            self.due = Some((now, reason));
        }
    }
}

/// A random part of a time.
fn share(of: Duration, draw: u64) -> Duration {
    of.mul_f64(draw as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests;
