//! What came of this node's part in each move so far. It is gone when the process ends, and found again; what a
//! copy was filled with is on disk, beside the copy.

use std::collections::{BTreeMap, BTreeSet};

use annulus_causality::VnodeId;
use annulus_ring::{Move, MoveId, NodeId, Placement, RingEpoch};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Of one move.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    /// The copy that all of this is about.
    vnode: Option<VnodeId>,
    /// When the move entered the stage that the rest is about.
    since: RingEpoch,
    /// When the copy was first seen to have lost what it once held.
    pub(super) lost_at: Option<Instant>,
    /// Bytes that each source has, about.
    pub(super) expected: BTreeMap<NodeId, u64>,
    /// The copy was filled with so much, when it began to serve.
    pub(super) streamed: Streamed,
    /// Nodes whose copies are the same.
    pub(super) verified: BTreeSet<NodeId>,
    /// Nodes that lack nothing of it.
    pub(super) drained: BTreeSet<NodeId>,
    /// Why the last attempt came to nothing.
    obstacle: Option<String>,
}

impl Findings {
    /// A stage that was left may be entered again, after writes that it knew nothing of.
    fn at(&mut self, it: &Move) {
        if self.since != it.since {
            self.since = it.since;
            self.verified.clear();
            self.drained.clear();
            self.obstacle = None;
        }
    }
}

/// What a copy was filled with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Streamed {
    pub(crate) bytes: u64,
    pub(crate) keys: u64,
    /// The nodes whose copies were read to the end.
    pub(crate) from: Vec<NodeId>,
}

/// Of all moves that concern this node.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<BTreeMap<MoveId, Findings>>);

impl Board {
    /// What is known of a move at its stage, about that copy. What was found about an earlier copy is forgotten.
    pub(super) fn about<T>(
        &self,
        it: &Move,
        vnode: VnodeId,
        work: impl FnOnce(&mut Findings) -> T,
    ) -> T {
        let mut board = self.0.lock();
        let findings = board.entry(it.id).or_default();
        findings.at(it);
        if findings.vnode != Some(vnode) {
            *findings = Findings {
                vnode: Some(vnode),
                since: findings.since,
                obstacle: findings.obstacle.take(),
                ..Findings::default()
            };
        }
        work(findings)
    }

    /// How the last attempt at a move's duty ended.
    pub(super) fn attempted(&self, it: &Move, obstacle: Option<String>) {
        let mut board = self.0.lock();
        let findings = board.entry(it.id).or_default();
        // An attempt may end after its stage.
        if findings.since <= it.since {
            findings.at(it);
            findings.obstacle = obstacle;
        }
    }

    /// Why the last attempt at this stage came to nothing.
    pub(super) fn obstacle(&self, it: &Move) -> Option<String> {
        let board = self.0.lock();
        let findings = board.get(&it.id).filter(|found| found.since == it.since)?;
        findings.obstacle.clone()
    }

    /// Forgets moves that the placement does not have any more.
    pub(super) fn keep(&self, placement: &Placement) {
        let has = |id: &MoveId| {
            placement
                .move_of(id.partition)
                .is_some_and(|it| it.id == *id)
        };
        self.0.lock().retain(|id, _| has(id));
    }
}

#[cfg(test)]
mod tests {
    use annulus_ring::{PartitionId, Stage};
    use uuid::Uuid;

    use super::*;

    fn at(stage: Stage, since: u64) -> Move {
        Move {
            id: MoveId {
                epoch: RingEpoch(3),
                partition: PartitionId(1),
            },
            add: None,
            remove: None,
            stage,
            since: RingEpoch(since),
            lost: false,
        }
    }

    #[test]
    fn what_was_found_about_one_copy_says_nothing_about_the_next() {
        let (board, it) = (Board::default(), at(Stage::Verify, 5));
        let node = NodeId(Uuid::from_u128(1));
        board.about(&it, VnodeId(7), |found| found.verified.insert(node));
        board.attempted(&it, Some("no way".into()));
        let verified = |vnode| board.about(&it, VnodeId(vnode), |found| found.verified.len());
        assert_eq!(verified(7), 1);
        assert_eq!(verified(8), 0);
        assert_eq!(verified(7), 0, "not even when it comes back");
        assert_eq!(board.obstacle(&it).as_deref(), Some("no way"));
    }

    #[test]
    fn what_was_drained_before_a_stage_was_left_is_to_be_drained_again() {
        let board = Board::default();
        let node = NodeId(Uuid::from_u128(1));
        let (commit, again) = (at(Stage::Commit, 8), at(Stage::Commit, 10));
        let filled = Streamed {
            keys: 3,
            ..Streamed::default()
        };
        board.about(&commit, VnodeId(7), |found| {
            found.drained.insert(node);
            found.streamed = filled.clone();
        });
        let found = board.about(&again, VnodeId(7), |found| found.clone());
        assert!(found.drained.is_empty());
        assert_eq!(found.streamed, filled);
        board.attempted(&commit, Some("late".into()));
        assert_eq!(board.obstacle(&again), None, "of an attempt before it");
    }
}
