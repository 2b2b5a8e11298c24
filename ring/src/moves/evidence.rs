//! What nodes report, and what is known of them: all that stage changes are decided by.

use std::collections::BTreeMap;

use super::id::MoveId;
use crate::epoch::RingEpoch;
use crate::node::NodeId;

/// What is known of a node's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It answers.
    Alive,
    /// It does not answer; it is waited for.
    #[default]
    Silent,
    /// It has not answered for longer than whoever decides is willing to wait. It may still run,
    /// and answer others.
    GivenUp,
    /// It provably does not run, and is not started again without this being taken back; its data
    /// may return.
    Fenced,
    /// It provably does not run, and its data will never return.
    Destroyed,
}

impl Standing {
    /// Whether nothing is expected of it any more.
    pub fn is_given_up(self) -> bool {
        matches!(self, Self::GivenUp | Self::Fenced | Self::Destroyed)
    }

    /// Whether it can answer nobody, whatever epoch it holds.
    pub fn cannot_answer(self) -> bool {
        matches!(self, Self::Fenced | Self::Destroyed)
    }
}

/// What a joining owner has copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streamed {
    /// Bytes received and merged.
    pub bytes: u64,
    /// Keys received and merged.
    pub keys: u64,
    /// The sources whose snapshots were merged to the end. A snapshot counts only if its source had
    /// acknowledged the epoch of the move's STREAM before it took it.
    pub from: Vec<NodeId>,
}

/// What a node reports of one move. It belongs to the vnode: one that is made anew starts again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveReport {
    /// Of which move.
    pub id: MoveId,
    /// The joining owner has made its vnode.
    pub ready: bool,
    /// What the joining owner has copied.
    pub streamed: Streamed,
    /// With whom it compared equal, confirmed by a second look. Reported by who synchronises.
    pub verified: Vec<NodeId>,
    /// Who of the new owners lacks nothing that this node, the leaver, has; counted after it
    /// acknowledged the epoch of COMMIT.
    pub drained: Vec<NodeId>,
    /// The leaver has deleted its copy.
    pub cleaned: bool,
}

impl MoveReport {
    /// Nothing done yet.
    pub fn new(id: MoveId) -> Self {
        Self {
            id,
            ready: false,
            streamed: Streamed::default(),
            verified: Vec::new(),
            drained: Vec::new(),
            cleaned: false,
        }
    }
}

/// What a node reports, and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// What is known of its life.
    pub standing: Standing,
    /// It has persisted this placement, every apply that it admitted under an older one has ended,
    /// and in partitions that changed it refuses older ones from then on.
    pub acked: RingEpoch,
    /// Of the moves that name it, or that it takes part in as a source.
    pub moves: Vec<MoveReport>,
}

/// The reports of all nodes. Of a node without a report nothing is known: it is silent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence(pub BTreeMap<NodeId, NodeReport>);

impl Evidence {
    /// What is known of a node's life.
    pub fn standing(&self, node: NodeId) -> Standing {
        self.0
            .get(&node)
            .map_or(Standing::Silent, |report| report.standing)
    }

    pub(crate) fn has_acked(&self, node: NodeId, epoch: RingEpoch) -> bool {
        self.0
            .get(&node)
            .is_some_and(|report| report.acked >= epoch)
    }

    pub(crate) fn of_move(&self, node: NodeId, id: MoveId) -> Option<&MoveReport> {
        let reports = &self.0.get(&node)?.moves;
        reports.iter().find(|report| report.id == id)
    }
}
