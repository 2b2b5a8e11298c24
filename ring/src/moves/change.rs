//! What the next epoch changes. Nodes go by their ids, for their numbers may change with it.

use super::id::MoveId;
use super::stage::Stage;
use crate::node::{Node, NodeId};
use crate::partition::{PartitionId, ReplicationFactor};

/// A move that is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlannedMove {
    /// What moves.
    pub partition: PartitionId,
    /// Who joins.
    pub add: Option<NodeId>,
    /// Who leaves.
    pub remove: Option<NodeId>,
    /// Nothing is expected of who leaves.
    pub lost: bool,
}

/// One part of the step to the next epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These are the members. All that own vnodes or are named by a move must be among them.
    Members(Vec<Node>),
    /// N is this. Rows get vacant places, or lose vacant ones.
    ReplicationFactor(ReplicationFactor),
    /// A move begins, in a stable partition.
    Start(PlannedMove),
    /// A move enters a stage.
    Enter {
        /// The move.
        id: MoveId,
        /// The stage.
        stage: Stage,
    },
    /// Nothing is expected of a move's leaver any more.
    GiveUpLeaver {
        /// The move.
        id: MoveId,
    },
    /// A move ends: called off before READ_NEW, or done.
    Close {
        /// The move.
        id: MoveId,
    },
}
