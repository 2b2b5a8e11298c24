//! Counts a write's replies: pure.
//!
//! Invariant: an owner counts once, whatever else it says later (a reply that comes twice, or after
//! its loss was noticed, changes nothing).
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

/// The replies of one round to the owners of a partition at one epoch.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    needed: usize,
    waiting: Vec<NodeIndex>,
    acks: usize,
}

impl Tally {
    /// Nobody has replied yet. `needed` is at least 1 and at most the number of owners.
    pub(crate) fn new(owners: &[NodeIndex], needed: usize) -> Self {
        assert!(
            (1..=owners.len()).contains(&needed),
            "a quorum of {needed} of {}",
            owners.len()
        );
        Self {
            needed,
            waiting: owners.to_vec(),
            acks: 0,
        }
    }

    /// The owner holds the write as durably as its keyspace asks for.
    pub(crate) fn ack(&mut self, owner: NodeIndex) -> Verdict {
        self.acks += usize::from(self.settle(owner));
        self.verdict()
    }

    /// The owner's ack will not come: it refused, it failed, or its reply was lost.
    pub(crate) fn fail(&mut self, owner: NodeIndex) -> Verdict {
        self.settle(owner);
        self.verdict()
    }

    /// Owners that hold the write.
    pub(crate) fn acks(&self) -> usize {
        self.acks
    }

    /// Where the count stands.
    pub(crate) fn verdict(&self) -> Verdict {
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
    use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};

    use super::*;

    const OWNERS: [NodeIndex; 3] = [NodeIndex(4), NodeIndex(7), NodeIndex(9)];

    #[test]
    fn an_owner_counts_once() {
        let mut tally = Tally::new(&OWNERS, 2);
        assert_eq!(tally.ack(NodeIndex(4)), Verdict::Pending);
        assert_eq!(tally.ack(NodeIndex(4)), Verdict::Pending);
        assert_eq!(tally.fail(NodeIndex(4)), Verdict::Pending);
        assert_eq!(tally.ack(NodeIndex(9)), Verdict::Reached);
    }

    #[test]
    fn a_stranger_does_not_count() {
        let mut tally = Tally::new(&OWNERS, 1);
        assert_eq!(tally.ack(NodeIndex(1)), Verdict::Pending);
        assert_eq!(tally.acks(), 0);
    }

    #[test]
    fn a_quorum_is_impossible_as_soon_as_too_few_are_left() {
        let mut tally = Tally::new(&OWNERS, 3);
        assert_eq!(tally.fail(NodeIndex(7)), Verdict::Impossible);
        let mut tally = Tally::new(&OWNERS, 2);
        assert_eq!(tally.fail(NodeIndex(7)), Verdict::Pending);
        assert_eq!(tally.fail(NodeIndex(9)), Verdict::Impossible);
    }

    fn replies() -> impl Strategy<Value = Vec<(u16, bool)>> {
        prop::collection::vec((0..5_u16, any::<bool>()), 0..12)
    }

    proptest! {
        #[test]
        fn the_verdict_is_that_of_the_first_reply_of_each_owner(
            replies in replies(),
            needed in 1..=5_usize,
        ) {
            let owners: Vec<_> = (0..5).map(NodeIndex).collect();
            let mut tally = Tally::new(&owners, needed);
            let mut first = std::collections::BTreeMap::new();
            for (owner, ok) in replies {
                first.entry(owner).or_insert(ok);
                if ok { tally.ack(NodeIndex(owner)) } else { tally.fail(NodeIndex(owner)) };
            }
            let acks = first.values().filter(|ok| **ok).count();
            let failed = first.len() - acks;
            let expected = if acks >= needed {
                Verdict::Reached
            } else if 5 - failed < needed {
                Verdict::Impossible
            } else {
                Verdict::Pending
            };
            prop_assert_eq!(tally.verdict(), expected);
        }
    }
}
