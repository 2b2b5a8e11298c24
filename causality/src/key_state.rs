//! Everything a replica knows of one key, and how two replicas' knowledge merges.
//!
//! A state is a clock (all events it knows of) and the siblings (the events that nothing known has replaced).
//! Equivalently: a set of known events and a set of replaced events, both of which only grow; the merge is the
//! union of both. That is why [`KeyState::sync`] is idempotent, commutative and associative (dotted version
//! vector sets: Preguiça et al., arXiv 1011.5808; Almeida et al., DAIS 2014).
//!
//! Invariants: siblings are sorted by dot, without doubles; the clock covers every sibling's dot and the dot of
//! every remembered request. A clock without siblings is a legal state (a vnode that lost the key, rule V4).
//!
//! **Retries.** Two vnodes may each write the same request. Both siblings stay in the state and
//! [`KeyState::live`] shows the one with the smaller dot; the context covers both, so the next write replaces
//! both. If one of them was replaced before the other came, the other is hidden for as long as the key remembers
//! the request. Throwing one away in the merge would not be associative: a third replica may know the smaller dot as
//! replaced, and then it depends on the order of merging whether the larger survives.
//!
//! **Last writer wins.** [`KeyState::reduce_lww`] after each sync keeps the laws as long as invariant I5 holds.

use smallvec::SmallVec;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use crate::dot::Dot;
use crate::hlc::HlcStamp;
use crate::recent_requests::{RecentRequest, RecentRequests};
use crate::sibling::{Content, RequestId, Sibling};
use crate::version_vector::VersionVector;

/// One sibling is the usual case.
pub(crate) type Siblings = SmallVec<[Sibling; 1]>;

/// A key's versions as one replica knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyState {
    pub(crate) clock: VersionVector,
    pub(crate) siblings: Siblings,
    pub(crate) recent: RecentRequests,
}

impl KeyState {
    /// The state of a key that nobody has written.
    pub fn new() -> Self {
        Self::default()
    }

    /// All events known here.
    pub fn clock(&self) -> &VersionVector {
        &self.clock
    }

    /// What a client that reads this state has seen, to give back with its next write.
    pub fn context(&self) -> VersionVector {
        self.clock.clone()
    }

    /// All siblings by ascending dot: tombstones, expired ones and doubles of a retry included.
    pub fn siblings(&self) -> &[Sibling] {
        &self.siblings
    }

    /// The last requests that wrote the key, newest first.
    pub fn recent_requests(&self) -> &[RecentRequest] {
        self.recent.as_slice()
    }

    /// What a reader is shown: no tombstones, nothing expired, one sibling a request.
    pub fn live(&self, now_ms: u64) -> impl Iterator<Item = &Sibling> {
        self.siblings
            .iter()
            .enumerate()
            .filter(|&(at, sibling)| !self.is_double(at, sibling))
            .map(|(_, sibling)| sibling)
            .filter(move |sibling| sibling.value(now_ms).is_some())
    }

    /// Whether a reader is shown nothing: all is deleted or expired, or there never was a value.
    pub fn is_deleted(&self, now_ms: u64) -> bool {
        self.live(now_ms).next().is_none()
    }

    /// The largest stamp of a sibling; a write over this state ticks its stamp above it.
    pub fn max_stamp(&self) -> Option<HlcStamp> {
        self.siblings.iter().map(|sibling| sibling.stamp).max()
    }

    /// Bytes of all values.
    pub fn value_bytes(&self) -> usize {
        self.siblings
            .iter()
            .map(|sibling| sibling.content.len())
            .sum()
    }

    /// The event that a request already became, if the key still knows; the smaller dot of two.
    pub fn known_request(&self, id: RequestId) -> Option<Dot> {
        let written = self
            .siblings
            .iter()
            .find(|sibling| sibling.request_id == Some(id));
        let written = written.map(|sibling| sibling.dot);
        let remembered = self.recent.find(id);
        written.into_iter().chain(remembered).min()
    }

    /// Merges another replica's knowledge into this: the least state that knows both.
    ///
    /// A sibling stays if both have it, or if one has it and the other has not heard of it.
    pub fn sync(&mut self, other: &Self) {
        let mut merged = Siblings::new();
        let mut ours = self.siblings.drain(..).peekable();
        let mut theirs = other.siblings.iter().peekable();
        loop {
            match (ours.peek().map(|s| s.dot), theirs.peek().map(|s| s.dot)) {
                (Some(a), Some(b)) if a == b => {
                    let theirs = theirs.next();
                    merged.extend(ours.next().map(|ours| without_dropped(ours, theirs)));
                }
                (Some(a), b) if b.is_none_or(|b| a < b) => {
                    merged.extend(ours.next().filter(|s| !other.clock.covers(s.dot)));
                }
                (_, Some(_)) => {
                    merged.extend(theirs.next().filter(|s| !self.clock.covers(s.dot)).cloned());
                }
                _ => break,
            }
        }
        drop(ours);
        self.siblings = merged;
        self.clock.join(&other.clock);
        self.recent.join(&other.recent);
    }

    /// Drops what a client has seen and joins its context into the clock.
    pub fn discard(&mut self, context: &VersionVector) {
        self.siblings.retain(|sibling| !context.covers(sibling.dot));
        self.clock.join(context);
    }

    /// Keeps only the sibling with the largest `(stamp, dot)`, and the whole clock.
    ///
    /// For keyspaces where the last writer wins, after every [`Self::sync`]. Sync and reduce together still obey
    /// the lattice laws provided invariant I5 holds: a write has a larger stamp than everything its context
    /// covers. Then whatever replaces the winner wins over the losers too, so dropping them early changes
    /// nothing. [`crate::VnodeClock::mint`] refuses writes that would break I5.
    pub fn reduce_lww(&mut self) {
        let last = self
            .siblings
            .iter()
            .map(|sibling| (sibling.stamp, sibling.dot))
            .max();
        self.siblings
            .retain(|sibling| Some((sibling.stamp, sibling.dot)) == last);
    }

    /// Whether both know the same events and the same siblings. Remembered requests do not count.
    pub fn same_as(&self, other: &Self) -> bool {
        self.clock == other.clock && self.dots().eq(other.dots())
    }

    /// Whether merging this into `other` would teach `other` nothing. Remembered requests do not count.
    pub fn dominated_by(&self, other: &Self) -> bool {
        other.clock.descends(&self.clock)
            && other
                .dots()
                .all(|dot| !self.clock.covers(dot) || self.has(dot))
    }

    /// 64-bit hash (XXH3) of the clock and the dots, the same on every machine and in every release.
    ///
    /// Values, expiry times and remembered requests do not enter, so expiry changes no hash (invariant I20).
    pub fn digest(&self) -> u64 {
        let mut hash = Xxh3Default::new();
        hash.update(&(self.clock.len() as u64).to_le_bytes());
        let clock = self.clock.iter().map(|(actor, counter)| actor.dot(counter));
        for dot in clock.chain(self.dots()) {
            hash.update(&dot.actor.vnode.0.to_le_bytes());
            hash.update(&dot.actor.epoch.0.to_le_bytes());
            hash.update(&dot.counter.to_le_bytes());
        }
        hash.digest()
    }

    /// Drops the values whose time was over before `expired_before_ms`, never their dots: what stays of one is
    /// a tombstone with its expiry. Says how many values went. Neither clock nor digest change.
    pub fn drop_expired(&mut self, expired_before_ms: u64) -> usize {
        let mut dropped = 0;
        for sibling in &mut self.siblings {
            let is_over = sibling.is_expired(expired_before_ms);
            if is_over && sibling.content != Content::Tombstone {
                sibling.content = Content::Tombstone;
                dropped += 1;
            }
        }
        dropped
    }

    /// From when on nothing of this has been a value: the largest stamp or expiry of its siblings, in
    /// milliseconds since 1970. `None` while a value is kept, and for a state without siblings, whose age
    /// nothing tells.
    pub fn ended_at_ms(&self) -> Option<u64> {
        let end = |sibling: &Sibling| match sibling.content {
            Content::Value(_) => None,
            Content::Tombstone => Some(sibling.stamp.ms().max(sibling.expires_at_ms.unwrap_or(0))),
        };
        let ends: Option<Vec<u64>> = self.siblings.iter().map(end).collect();
        ends?.into_iter().max()
    }

    /// 128-bit hash (XXH3) of everything: equal on two replicas when their records are equal to the byte.
    pub fn record_digest(&self) -> u128 {
        xxh3_128(&self.encode())
    }

    /// The same, living for ever: a mistake to be found by simulations.
    #[cfg(feature = "ablation")]
    #[must_use]
    pub fn without_expiry(mut self) -> Self {
        for sibling in &mut self.siblings {
            sibling.expires_at_ms = None;
        }
        self
    }

    /// Adds the event of a new write.
    pub(crate) fn add(&mut self, sibling: Sibling) {
        if let Some(id) = sibling.request_id {
            self.recent.insert(RecentRequest {
                stamp: sibling.stamp,
                id,
                dot: sibling.dot,
            });
        }
        self.clock.insert(sibling.dot);
        let at = self
            .siblings
            .partition_point(|other| other.dot < sibling.dot);
        self.siblings.insert(at, sibling);
    }

    fn dots(&self) -> impl Iterator<Item = Dot> {
        self.siblings.iter().map(|sibling| sibling.dot)
    }

    fn has(&self, dot: Dot) -> bool {
        self.siblings
            .binary_search_by_key(&dot, |sibling| sibling.dot)
            .is_ok()
    }

    /// Whether readers are spared this sibling, because its request has another event: a smaller sibling, or one
    /// that was replaced, and with it the request. Expiry plays no part: a request ends with its first sibling.
    ///
    /// The last sibling is always shown: where the last writer wins, the other event may have lost, not been seen.
    fn is_double(&self, at: usize, sibling: &Sibling) -> bool {
        let Some(id) = sibling.request_id.filter(|_| self.siblings.len() > 1) else {
            return false;
        };
        let replaced = |recent: &RecentRequest| recent.id == id && !self.has(recent.dot);
        self.siblings[..at]
            .iter()
            .any(|earlier| earlier.request_id == Some(id))
            || self.recent.as_slice().iter().any(replaced)
    }
}

/// Two replicas' copies of one sibling are the same, but one may have dropped the value after it expired; then
/// the merge has no value either, so that it does not depend on the order.
fn without_dropped(mut ours: Sibling, theirs: Option<&Sibling>) -> Sibling {
    if ours.expires_at_ms.is_some()
        && theirs.is_some_and(|theirs| theirs.content == Content::Tombstone)
    {
        ours.content = Content::Tombstone;
    }
    ours
}
