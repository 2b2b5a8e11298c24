//! A move as the placement states it.

use serde::{Deserialize, Serialize};

use super::id::MoveId;
use super::stage::Stage;
use crate::epoch::RingEpoch;
use crate::node::NodeIndex;
use crate::partition::PartitionId;

/// One owner of one partition is exchanged, added (no `remove`) or removed (no `add`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// Its name and its session; holds the partition.
    pub id: MoveId,
    /// D: the owner that joins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<NodeIndex>,
    /// A: the owner that leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove: Option<NodeIndex>,
    /// Where it is.
    pub stage: Stage,
    /// The epoch that it entered its stage at: what a barrier asks acknowledgements of. Requests
    /// stamped with an older one are refused in this partition.
    pub since: RingEpoch,
    /// The leaver was given up: nothing is expected of it any more, and the others are the sources
    /// of the joining owner. Never taken back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lost: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Move {
    /// What moves.
    pub fn partition(&self) -> PartitionId {
        self.id.partition
    }

    /// The node that the partition's row does not list: the joining owner until it serves, then
    /// the leaver.
    pub(crate) fn beside_row(&self) -> Option<NodeIndex> {
        if self.stage.serves_new() {
            self.remove
        } else {
            self.add
        }
    }

    /// The node that the partition's row lists and the other set of owners does not.
    pub(crate) fn only_in_row(&self) -> Option<NodeIndex> {
        if self.stage.serves_new() {
            self.add
        } else {
            self.remove
        }
    }

    /// Whether the move adds or removes this node.
    pub fn names(&self, node: NodeIndex) -> bool {
        self.add == Some(node) || self.remove == Some(node)
    }
}
