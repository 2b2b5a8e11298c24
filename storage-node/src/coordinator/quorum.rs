//! Counts a write's replies: pure.
//!
//! During a move a write needs a quorum of the old owners and one of the new: two sets, which may share nodes.
//!
//! Invariants: an owner counts once in each set that it is in, whatever else it says later (a reply that comes
//! twice, or after its loss was noticed, changes nothing); no set makes up for another.
//!
//! Leaves to others: what a failed quorum means. Once a dot is minted it is `unknown`, however the
//! owners failed: the minting one holds the write.

use annulus_ring::NodeIndex;

/// Where a count stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// More replies are needed and may come.
    Pending,
    /// As many as needed have the write.
    Reached,
    /// So many failed that the rest is not enough.
    Impossible,
}

/// The replies of one round to those who take a partition's writes at one epoch.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    sets: Vec<SetTally>,
}

/// Of one set.
#[derive(Debug, Clone)]
struct SetTally {
    needed: usize,
    waiting: Vec<NodeIndex>,
    acks: usize,
}

impl Tally {
    /// Nobody has replied yet. `needed` of each set, or all of one that is smaller; at least 1.
    pub(crate) fn new(
        sets: impl IntoIterator<Item: IntoIterator<Item = NodeIndex>>,
        needed: usize,
    ) -> Self {
        let sets = sets.into_iter().map(|owners| {
            let waiting: Vec<_> = owners.into_iter().collect();
            let needed = needed.min(waiting.len());
            assert!(needed > 0, "a quorum of nobody among {waiting:?}");
            let acks = 0;
            SetTally {
                needed,
                waiting,
                acks,
            }
        });
        Self {
            sets: sets.collect(),
        }
    }

    /// The owner holds the write as durably as its keyspace asks for.
    pub(crate) fn ack(&mut self, owner: NodeIndex) -> Verdict {
        for set in &mut self.sets {
            set.acks += usize::from(set.settle(owner));
        }
        self.verdict()
    }

    /// The owner's ack will not come: it refused, it failed, or its reply was lost.
    pub(crate) fn fail(&mut self, owner: NodeIndex) -> Verdict {
        for set in &mut self.sets {
            set.settle(owner);
        }
        self.verdict()
    }

    /// Of the set that lacks most: owners that hold the write, and how many are needed.
    pub(crate) fn progress(&self) -> (usize, usize) {
        let worst = self.sets.iter().max_by_key(|set| set.missing());
        worst.map_or((0, 0), |set| (set.acks, set.needed))
    }

    /// How many more acks are needed in the set that lacks most.
    pub(crate) fn missing(&self) -> usize {
        let missing = self.sets.iter().map(SetTally::missing);
        missing.max().unwrap_or(0)
    }

    /// Where the count stands.
    pub(crate) fn verdict(&self) -> Verdict {
        let verdicts = || self.sets.iter().map(SetTally::verdict);
        if verdicts().any(|verdict| verdict == Verdict::Impossible) {
            Verdict::Impossible
        } else if verdicts().all(|verdict| verdict == Verdict::Reached) {
            Verdict::Reached
        } else {
            Verdict::Pending
        }
    }
}

impl SetTally {
    fn missing(&self) -> usize {
        self.needed.saturating_sub(self.acks)
    }

    fn verdict(&self) -> Verdict {
        if self.acks >= self.needed {
            Verdict::Reached
        } else if self.acks + self.waiting.len() < self.needed {
            Verdict::Impossible
        } else {
            Verdict::Pending
        }
    }

    fn settle(&mut self, owner: NodeIndex) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| *waiting != owner);
        self.waiting.len() < before
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};

    use super::*;

    const OWNERS: [NodeIndex; 3] = [NodeIndex(4), NodeIndex(7), NodeIndex(9)];

    fn one(needed: usize) -> Tally {
        Tally::new([OWNERS], needed)
    }

    #[test]
    fn an_owner_counts_once() {
        let mut tally = one(2);
        assert_eq!(tally.ack(NodeIndex(4)), Verdict::Pending);
        assert_eq!(tally.ack(NodeIndex(4)), Verdict::Pending);
        assert_eq!(tally.fail(NodeIndex(4)), Verdict::Pending);
        assert_eq!(tally.ack(NodeIndex(9)), Verdict::Reached);
    }

    #[test]
    fn a_stranger_does_not_count() {
        let mut tally = one(1);
        assert_eq!(tally.ack(NodeIndex(1)), Verdict::Pending);
        assert_eq!(tally.progress(), (0, 1));
    }

    #[test]
    fn a_quorum_is_impossible_as_soon_as_too_few_are_left() {
        let mut tally = one(3);
        assert_eq!(tally.fail(NodeIndex(7)), Verdict::Impossible);
        let mut tally = one(2);
        assert_eq!(tally.fail(NodeIndex(7)), Verdict::Pending);
        assert_eq!(tally.fail(NodeIndex(9)), Verdict::Impossible);
    }

    #[test]
    fn a_quorum_of_the_old_owners_is_none_of_the_new() {
        let (leaves, stays, also_stays, joins) = (4, 7, 9, 2);
        let new = [NodeIndex(joins), NodeIndex(stays), NodeIndex(also_stays)];
        let mut tally = Tally::new([OWNERS, new], 2);
        assert_eq!(tally.ack(NodeIndex(leaves)), Verdict::Pending);
        assert_eq!(tally.ack(NodeIndex(stays)), Verdict::Pending);
        assert_eq!((tally.progress(), tally.missing()), ((1, 2), 1));
        assert_eq!(tally.clone().ack(NodeIndex(joins)), Verdict::Reached);
        assert_eq!(tally.fail(NodeIndex(joins)), Verdict::Pending);
        assert_eq!(
            tally.clone().fail(NodeIndex(also_stays)),
            Verdict::Impossible
        );
        assert_eq!(tally.ack(NodeIndex(also_stays)), Verdict::Reached);
    }

    #[test]
    fn a_dead_joiner_holds_nothing_up_while_the_others_answer() {
        let new = [NodeIndex(2), NodeIndex(7), NodeIndex(9)];
        let mut tally = Tally::new([OWNERS, new], 2);
        tally.fail(NodeIndex(2));
        tally.ack(NodeIndex(7));
        assert_eq!(tally.ack(NodeIndex(9)), Verdict::Reached);
    }

    fn replies() -> impl Strategy<Value = Vec<(u16, bool)>> {
        prop::collection::vec((0..7_u16, any::<bool>()), 0..16)
    }

    fn owners() -> impl Strategy<Value = Vec<u16>> {
        prop::sample::subsequence((0..7_u16).collect::<Vec<_>>(), 1..=5)
    }

    proptest! {
        #[test]
        fn each_set_is_judged_by_the_first_reply_of_each_of_its_owners(
            replies in replies(),
            sets in prop::collection::vec(owners(), 1..=2),
            needed in 1..=5_usize,
        ) {
            let indexes = sets.iter().map(|set| set.iter().map(|owner| NodeIndex(*owner)));
            let mut tally = Tally::new(indexes, needed);
            let mut first = BTreeMap::new();
            for (owner, ok) in replies {
                first.entry(owner).or_insert(ok);
                if ok { tally.ack(NodeIndex(owner)) } else { tally.fail(NodeIndex(owner)) };
            }
            let verdict = |set: &Vec<u16>| {
                let said = |what| set.iter().filter(|owner| first.get(owner) == Some(&what)).count();
                let needed = needed.min(set.len());
                if said(true) >= needed {
                    Verdict::Reached
                } else if set.len() - said(false) < needed {
                    Verdict::Impossible
                } else {
                    Verdict::Pending
                }
            };
            let verdicts: Vec<_> = sets.iter().map(verdict).collect();
            let expected = if verdicts.contains(&Verdict::Impossible) {
                Verdict::Impossible
            } else if verdicts.contains(&Verdict::Pending) {
                Verdict::Pending
            } else {
                Verdict::Reached
            };
            prop_assert_eq!(tally.verdict(), expected);
        }
    }
}
