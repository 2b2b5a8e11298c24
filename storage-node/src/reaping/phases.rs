//! What the owners' answers allow, and when: pure.
//!
//! Phase 1: all owners say that they hold a tombstone, to the byte and on disk. Then nothing older is left on
//! any owner, and whatever older is still under way was read from one of them before; it ends by its deadline.
//! So phase 2 waits until every deadline is over that was given before the end of phase 1, and then has each
//! owner remove what has not changed, under the same placement and by the same vnode.

use std::time::Duration;

use annulus_causality::VnodeId;
use annulus_ring::{NodeId, PartitionId, RingEpoch};
use tokio::time::Instant;

use super::tally::{Blocked, Reason};
use crate::peer::NamedTombstone;
use crate::replica::{TombstoneFound, TombstonesFound};

/// One owner's answer, or what kept it from answering.
pub(super) type OwnerAnswer = (NodeId, Result<TombstonesFound, Reason>);

/// What phase 1 found about some tombstones of a partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Confirmation {
    /// By their place: all owners hold just that.
    pub(super) confirmed: Vec<usize>,
    /// By their place: some owner holds something else, or nothing.
    pub(super) different: Vec<usize>,
    /// By their place: some owner can't read its record.
    pub(super) damaged: Vec<(usize, NodeId)>,
    /// The vnodes that answered.
    pub(super) vnodes: Vec<(NodeId, VnodeId)>,
}

/// Puts the answers of all owners about `count` tombstones together.
///
/// # Errors
/// With the first owner that did not answer: then nothing may be removed.
pub(super) fn confirm(count: usize, answers: &[OwnerAnswer]) -> Result<Confirmation, Blocked> {
    let mut confirmation = Confirmation::default();
    let mut all = Vec::with_capacity(answers.len());
    for (node, answer) in answers {
        let answer = answer.as_ref().map_err(|reason| Blocked {
            reason: *reason,
            node: Some(*node),
        })?;
        confirmation
            .vnodes
            .extend(answer.vnode.map(|vnode| (*node, vnode)));
        all.push((*node, answer));
    }
    for place in 0..count {
        let found = |answer: &TombstonesFound| answer.found.get(place).copied();
        let damaged = all
            .iter()
            .find(|(_, answer)| found(answer) == Some(TombstoneFound::Damaged));
        if let Some((node, _)) = damaged {
            confirmation.damaged.push((place, *node));
        } else if !all.is_empty()
            && all
                .iter()
                .all(|(_, answer)| found(answer) == Some(TombstoneFound::Same))
        {
            confirmation.confirmed.push(place);
        } else {
            confirmation.different.push(place);
        }
    }
    Ok(confirmation)
}

/// Tombstones that all owners have confirmed, on their way to phase 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) partition: PartitionId,
    /// The placement under which they were confirmed.
    pub(super) epoch: RingEpoch,
    /// Each owner's vnode, in the order in which they remove: this node's last.
    pub(super) vnodes: Vec<(NodeId, VnodeId)>,
    pub(super) tombstones: Vec<NamedTombstone>,
    /// Not before: every request that was under way in phase 1 has ended then.
    pub(super) not_before: Instant,
}

/// What becomes of a round now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Its time has not come.
    Wait(Instant),
    /// Phase 2.
    Remove,
    /// The partition has changed: it was confirmed in vain.
    Void,
}

impl Round {
    /// What was confirmed by these vnodes at `confirmed_at`, the end of phase 1. `settle`: the longest that a
    /// request may live.
    pub(super) fn new(
        (partition, epoch): (PartitionId, RingEpoch),
        own: NodeId,
        mut vnodes: Vec<(NodeId, VnodeId)>,
        tombstones: Vec<NamedTombstone>,
        (confirmed_at, settle): (Instant, Duration),
    ) -> Self {
        vnodes.sort_by_key(|(node, _)| *node == own);
        Self {
            partition,
            epoch,
            vnodes,
            tombstones,
            not_before: confirmed_at + settle,
        }
    }

    /// Decides: by whether the partition is as it was at the round's epoch, and the time.
    pub(super) fn next(&self, unchanged: bool, now: Instant) -> Next {
        if !unchanged {
            Next::Void
        } else if now < self.not_before {
            Next::Wait(self.not_before)
        } else {
            Next::Remove
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn found(vnode: u64, found: &[TombstoneFound]) -> TombstonesFound {
        TombstonesFound {
            vnode: Some(VnodeId(vnode)),
            found: found.to_vec(),
        }
    }

    use TombstoneFound::{Absent, Damaged, Other, Same};

    #[test]
    fn only_what_all_owners_hold_is_confirmed() {
        let answers = [
            (node(1), Ok(found(11, &[Same, Same, Same, Same]))),
            (node(2), Ok(found(12, &[Same, Absent, Same, Damaged]))),
            (node(3), Ok(found(13, &[Same, Same, Other, Same]))),
        ];
        let confirmation = confirm(4, &answers).unwrap();
        assert_eq!(confirmation.confirmed, [0]);
        assert_eq!(confirmation.different, [1, 2]);
        assert_eq!(confirmation.damaged, [(3, node(2))]);
        let vnodes = [1, 2, 3].map(|n| (node(n.into()), VnodeId(10 + n)));
        assert_eq!(confirmation.vnodes, vnodes);
    }

    #[test]
    fn an_owner_that_does_not_answer_holds_up_everything() {
        let answers = [
            (node(1), Ok(found(11, &[Same]))),
            (node(2), Err(Reason::OwnerDown)),
        ];
        let blocked = Blocked {
            reason: Reason::OwnerDown,
            node: Some(node(2)),
        };
        assert_eq!(confirm(1, &answers), Err(blocked));
        assert_eq!(confirm(1, &[]).unwrap().confirmed, [] as [usize; 0]);
    }

    #[test]
    fn an_answer_that_is_too_short_confirms_nothing() {
        let answers = [(node(1), Ok(found(11, &[Same])))];
        let confirmation = confirm(2, &answers).unwrap();
        assert_eq!(
            (confirmation.confirmed, confirmation.different),
            (vec![0], vec![1])
        );
    }

    #[test]
    fn phase_two_waits_for_requests_to_end_and_this_node_comes_last() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let vnodes = vec![(node(1), VnodeId(1)), (node(2), VnodeId(2))];
        let at = (PartitionId(0), RingEpoch(4));
        let round = Round::new(at, node(1), vnodes, Vec::new(), (begin, 60 * second));
        assert_eq!(round.vnodes[1].0, node(1));
        assert_eq!(
            round.next(true, begin + 59 * second),
            Next::Wait(begin + 60 * second)
        );
        assert_eq!(round.next(true, begin + 60 * second), Next::Remove);
        assert_eq!(round.next(false, begin + 60 * second), Next::Void);
    }
}
