//! What the placement knows of a node.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identity of a node: created with its data directory, so a wiped disk is a new node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub Uuid);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for NodeId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text).map(Self)
    }
}

/// A node's place in [`Placement::nodes`](crate::Placement::nodes). Means something only
/// together with its placement: the next epoch may number the nodes otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeIndex(pub u16);

impl NodeIndex {
    /// Stands in a document for a place that no node has, at the end of a partition's row.
    pub const VACANT: Self = Self(u16::MAX);

    pub(crate) fn at(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn from_at(at: usize) -> Self {
        Self(u16::try_from(at).expect("a placement has at most 1024 nodes"))
    }
}

/// What fails together: a rack, a datacenter room, a cloud's availability zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Zone(pub String);

impl From<&str> for Zone {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Weight of a node: it gets vnodes in proportion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capacity(pub NonZeroU32);

impl Capacity {
    /// The capacity of nodes that are all alike.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// The number itself.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// What the placement wants of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NodeState {
    /// Takes its share of the vnodes.
    Active,
    /// Gives its vnodes away and takes no new ones.
    Draining,
}

/// Where a node's services listen, each as `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeAddresses {
    /// Other nodes: replica traffic, gossip, streams.
    pub peer: String,
    /// Clients, gRPC.
    pub grpc: String,
    /// Clients, HTTP.
    pub http: String,
    /// The operator.
    pub admin: String,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Identity; never reused.
    pub id: NodeId,
    /// Name for people and Kubernetes objects; unique in a placement.
    pub name: String,
    /// Where it listens.
    pub addresses: NodeAddresses,
    /// What it fails together with.
    pub zone: Zone,
    /// Weight.
    pub capacity: Capacity,
    /// Taking vnodes, or giving them away.
    pub state: NodeState,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_uuid_as_text() {
        let id = NodeId(Uuid::from_u128(0xabc));
        let text = "00000000-0000-0000-0000-000000000abc";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse::<NodeId>().unwrap(), id);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        assert!("node-1".parse::<NodeId>().is_err());
    }

    #[test]
    fn a_capacity_of_zero_is_refused() {
        assert!(serde_json::from_str::<Capacity>("0").is_err());
    }
}
