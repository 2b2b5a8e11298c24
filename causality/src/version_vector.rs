//! Summaries of events: for each actor, how many of its events are known.
//!
//! Invariants: sorted by actor, no actor twice, no counter 0. A vector is downward closed: with counter n it
//! covers the actor's events 1 to n. That is sound only because actors never forget and restart
//! (see [`crate::minting`]).

use std::cmp::Ordering;

use smallvec::SmallVec;

use crate::dot::{Actor, Counter, Dot, VnodeId};

/// Three owners are the usual replication, so three entries need no allocation.
type Entries = SmallVec<[(Actor, Counter); 3]>;

/// A version vector: a set of events, kept as the highest counter of each actor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VersionVector {
    entries: Entries,
}

impl VersionVector {
    /// The vector that covers nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is covered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of actors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Highest covered counter of an actor; 0 when none is.
    pub fn get(&self, actor: Actor) -> Counter {
        match self.position(actor) {
            Ok(at) => self.entries[at].1,
            Err(_) => 0,
        }
    }

    /// Whether the event is covered.
    pub fn covers(&self, dot: Dot) -> bool {
        dot.counter <= self.get(dot.actor)
    }

    /// Covers the event, and with it all earlier ones of its actor.
    pub fn insert(&mut self, dot: Dot) {
        if dot.counter == 0 {
            return;
        }
        match self.position(dot.actor) {
            Ok(at) => self.entries[at].1 = self.entries[at].1.max(dot.counter),
            Err(at) => self.entries.insert(at, (dot.actor, dot.counter)),
        }
    }

    /// Covers all that `other` covers: the pointwise maximum.
    pub fn join(&mut self, other: &Self) {
        if self.descends(other) {
            return;
        }
        let mut merged = Entries::with_capacity(self.len().max(other.len()));
        let mut ours = self.entries.iter().copied().peekable();
        let mut theirs = other.entries.iter().copied().peekable();
        while let (Some(&(a, m)), Some(&(b, n))) = (ours.peek(), theirs.peek()) {
            if a <= b {
                ours.next();
            }
            if b <= a {
                theirs.next();
            }
            merged.push(match a.cmp(&b) {
                Ordering::Less => (a, m),
                Ordering::Equal => (a, m.max(n)),
                Ordering::Greater => (b, n),
            });
        }
        merged.extend(ours.chain(theirs));
        self.entries = merged;
    }

    /// Whether everything that `other` covers is covered here too.
    pub fn descends(&self, other: &Self) -> bool {
        let mut ours = self.entries.iter();
        other.entries.iter().all(|&(actor, counter)| {
            ours.by_ref()
                .find(|&&(ours, _)| ours >= actor)
                .is_some_and(|&(ours, known)| ours == actor && known >= counter)
        })
    }

    /// The entries, by ascending actor.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Actor, Counter)> {
        self.entries.iter().copied()
    }

    /// The latest covered event of a vnode over all its epochs.
    pub fn latest_of(&self, vnode: VnodeId) -> Option<Dot> {
        self.events_of(vnode).next_back()
    }

    /// The latest covered event in each epoch of a vnode, by ascending epoch.
    pub(crate) fn events_of(
        &self,
        vnode: VnodeId,
    ) -> impl DoubleEndedIterator<Item = Dot> + Clone + '_ {
        let begin = self
            .entries
            .partition_point(|(actor, _)| actor.vnode < vnode);
        let end = self
            .entries
            .partition_point(|(actor, _)| actor.vnode <= vnode);
        self.entries[begin..end]
            .iter()
            .map(|&(actor, counter)| actor.dot(counter))
    }

    /// Position of an actor in [`Self::iter`], or where it would be.
    pub(crate) fn position(&self, actor: Actor) -> Result<usize, usize> {
        self.entries
            .binary_search_by_key(&actor, |&(actor, _)| actor)
    }

    /// Appends an entry; false, and nothing done, when that would break the invariants.
    pub(crate) fn push_ascending(&mut self, actor: Actor, counter: Counter) -> bool {
        let ascends = self.entries.last().is_none_or(|&(last, _)| last < actor);
        if ascends && counter > 0 {
            self.entries.push((actor, counter));
        }
        ascends && counter > 0
    }
}

/// Causal order: less is "happened before", `None` is "concurrent".
impl PartialOrd for VersionVector {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.descends(other), other.descends(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        }
    }
}

impl From<Dot> for VersionVector {
    /// Covers the event and all earlier ones of its actor.
    fn from(dot: Dot) -> Self {
        let mut vector = Self::new();
        vector.insert(dot);
        vector
    }
}

impl FromIterator<(Actor, Counter)> for VersionVector {
    /// Any order; of an actor named twice the higher counter stays; counters of 0 cover nothing and are left out.
    fn from_iter<I: IntoIterator<Item = (Actor, Counter)>>(entries: I) -> Self {
        let mut entries: Entries = entries
            .into_iter()
            .filter(|&(_, counter)| counter > 0)
            .collect();
        entries.sort_unstable_by(|a, b| b.cmp(a));
        entries.dedup_by_key(|&mut (actor, _)| actor);
        entries.reverse();
        Self { entries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dot::KeyEpoch;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn actor(vnode: u64, epoch: u32) -> Actor {
        Actor::new(VnodeId(vnode), KeyEpoch(epoch))
    }

    fn entries() -> impl Strategy<Value = BTreeMap<(u64, u32), u64>> {
        prop::collection::btree_map((0..4_u64, 0..3_u32), 1..4_u64, 0..7)
    }

    fn vector(entries: &BTreeMap<(u64, u32), u64>) -> VersionVector {
        entries
            .iter()
            .map(|(&(v, e), &n)| (actor(v, e), n))
            .collect()
    }

    #[test]
    fn latest_of_a_vnode_is_in_its_last_epoch() {
        let clock: VersionVector = [
            (actor(1, 9), 1),
            (actor(2, 1), 8),
            (actor(2, 3), 1),
            (actor(3, 1), 5),
        ]
        .into_iter()
        .collect();
        assert_eq!(clock.latest_of(VnodeId(2)), Some(actor(2, 3).dot(1)));
        assert_eq!(clock.latest_of(VnodeId(4)), None);
        assert_eq!(clock.latest_of(VnodeId(0)), None);
    }

    #[test]
    fn doubled_actor_keeps_the_higher_counter() {
        let clock: VersionVector = [(actor(1, 1), 2), (actor(1, 1), 5), (actor(1, 1), 0)]
            .into_iter()
            .collect();
        assert_eq!(clock.iter().collect::<Vec<_>>(), [(actor(1, 1), 5)]);
    }

    proptest! {
        #[test]
        fn join_is_the_pointwise_maximum_and_the_least_upper_bound(a in entries(), b in entries()) {
            let mut expected = a.clone();
            for (&k, &n) in &b {
                let have = expected.entry(k).or_default();
                *have = n.max(*have);
            }
            let mut joined = vector(&a);
            joined.join(&vector(&b));
            prop_assert_eq!(&joined, &vector(&expected));
            prop_assert!(joined >= vector(&a) && joined >= vector(&b));
        }

        #[test]
        fn order_is_the_pointwise_order(a in entries(), b in entries()) {
            let le = |x: &BTreeMap<_, u64>, y: &BTreeMap<_, u64>| x.iter().all(|(k, n)| y.get(k).is_some_and(|m| m >= n));
            let expected = match (le(&a, &b), le(&b, &a)) {
                (true, true) => Some(Ordering::Equal),
                (true, false) => Some(Ordering::Less),
                (false, true) => Some(Ordering::Greater),
                (false, false) => None,
            };
            prop_assert_eq!(vector(&a).partial_cmp(&vector(&b)), expected);
        }
    }
}
