//! One line of a recording: an operation, or something about the cluster that rules need.

use annulus_causality::{Content, Dot, KeyState, VersionVector};
use annulus_ring::{NodeId, PlacementDocument, RingEpoch};
use serde::{Deserialize, Serialize};

use crate::causality_text;
use crate::operation::{KeyName, Operation, OperationId, Policy, ValueId};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// What a client asked for and was told.
    Operation(Operation),
    /// What a node holds of a key at the end, after faults were healed and copies converged.
    FinalState(FinalState),
    /// A placement that was in force; in the order of their epochs.
    Placement(Box<PlacementDocument>),
    /// The epoch that a node was seen at; a node's records come in the order in which they were seen.
    NodeEpoch(NodeEpoch),
    /// A replica's answer that a coordinator counted.
    Reply(Reply),
    /// What a keyspace promises, where that is less than usual.
    Keyspace(KeyspacePromise),
}

/// What a keyspace promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyspacePromise {
    /// The keyspace.
    pub keyspace: String,
    /// Acknowledged writes may be lost, because they don't wait for the disk (`durability: async`), and processes
    /// crashed. Then no rule asks what became of an acknowledged write.
    pub may_lose_acknowledged: bool,
}

/// What a node holds of a key. Record all owners, also those that have no record of the key (`state: None`): an
/// owner that isn't recorded is not judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalState {
    /// The node.
    pub node: NodeId,
    /// The key.
    pub key: KeyName,
    /// The keyspace's conflict policy.
    pub policy: Policy,
    /// When it was looked at, in microseconds of the recorder's clock.
    pub at_us: u64,
    /// What the node holds; none if it has no record of the key.
    pub state: Option<HeldState>,
}

/// A key's state on one node. What it remembers of requests is left out: replicas need not agree on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldState {
    /// All events it knows of.
    #[serde(with = "causality_text::clock")]
    pub clock: VersionVector,
    /// All siblings by ascending dot: tombstones, expired ones and doubles of retries included.
    pub siblings: Vec<HeldSibling>,
}

/// One sibling as a node holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldSibling {
    /// Its event.
    #[serde(with = "causality_text::dot")]
    pub dot: Dot,
    /// The value; none for a tombstone.
    pub value: Option<ValueId>,
    /// Hybrid stamp.
    pub stamp: u64,
    /// Wall time of expiry in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
}

impl From<&KeyState> for HeldState {
    fn from(state: &KeyState) -> Self {
        let siblings = state.siblings().iter().map(|sibling| HeldSibling {
            dot: sibling.dot,
            value: match &sibling.content {
                Content::Value(bytes) => Some(ValueId::of(bytes)),
                Content::Tombstone => None,
            },
            stamp: sibling.stamp.0,
            expires_at_ms: sibling.expires_at_ms,
        });
        Self {
            clock: state.clock().clone(),
            siblings: siblings.collect(),
        }
    }
}

/// The epoch that a node was seen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEpoch {
    /// The node.
    pub node: NodeId,
    /// When, in microseconds of the recorder's clock.
    pub at_us: u64,
    /// Its placement's epoch.
    pub epoch: RingEpoch,
    /// Its placement's fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<u64>,
}

/// A replica's answer that a coordinator counted toward R or W of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The operation.
    pub operation: OperationId,
    /// Whose answer.
    pub node: NodeId,
    /// The request's epoch.
    pub epoch: RingEpoch,
}
