//! What came of this node's part in each move so far. It is gone when the process ends, and found again; what a
//! copy was filled with is on disk, beside the copy.

use std::collections::{BTreeMap, BTreeSet};

use annulus_causality::VnodeId;
use annulus_ring::{MoveId, NodeId, Placement};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Of one move.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    /// The copy that all of this is about.
    vnode: Option<VnodeId>,
    /// When it was first seen to have lost what it once held.
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
    pub(super) obstacle: Option<String>,
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
    /// What is known of a move, about that copy. What was found about an earlier copy is forgotten.
    pub(super) fn about<T>(
        &self,
        id: MoveId,
        vnode: VnodeId,
        work: impl FnOnce(&mut Findings) -> T,
    ) -> T {
        let mut board = self.0.lock();
        let findings = board.entry(id).or_default();
        if findings.vnode != Some(vnode) {
            let obstacle = findings.obstacle.take();
            *findings = Findings {
                vnode: Some(vnode),
                obstacle,
                ..Findings::default()
            };
        }
        work(findings)
    }

    /// How the last attempt at a move's duty ended.
    pub(super) fn attempted(&self, id: MoveId, obstacle: Option<String>) {
        self.0.lock().entry(id).or_default().obstacle = obstacle;
    }

    /// Why the last attempt came to nothing.
    pub(super) fn obstacle(&self, id: MoveId) -> Option<String> {
        self.0.lock().get(&id)?.obstacle.clone()
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
    use annulus_ring::{PartitionId, RingEpoch};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_was_found_about_one_copy_says_nothing_about_the_next() {
        let board = Board::default();
        let id = MoveId {
            epoch: RingEpoch(3),
            partition: PartitionId(1),
        };
        let node = NodeId(Uuid::from_u128(1));
        board.about(id, VnodeId(7), |found| found.verified.insert(node));
        board.attempted(id, Some("no way".into()));
        let verified = |vnode| board.about(id, VnodeId(vnode), |found| found.verified.len());
        assert_eq!(verified(7), 1);
        assert_eq!(verified(8), 0);
        assert_eq!(verified(7), 0, "not even when it comes back");
        assert_eq!(board.obstacle(id).as_deref(), Some("no way"));
    }
}
