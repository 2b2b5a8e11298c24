//! `KVRing`: the placement as a Kubernetes object.
//!
//! Written by the operator alone: created once at founding, so that the API server itself
//! makes sure that there is only one, and later replaced under its resourceVersion. Owners
//! are one string of node numbers, partition by partition: 16,384 partitions with three owners
//! among a thousand nodes take 200 KB, far below the limit of an object. Moves are objects, to be
//! read by people: 2,048 of them take 200 KB more.
#![expect(clippy::duplicated_attributes, reason = "columns are alike")]
#![expect(
    unreachable_pub,
    reason = "KubeSchema copies each struct into a function"
)]

use std::fmt::Write as _;
use std::num::NonZeroU32;

use annulus_ring::{
    Capacity, HashSeed, Move, Node, NodeAddresses, NodeId, NodeIndex, NodeState, PartitionCount,
    Placement, PlacementDocument, PlacementError, ReplicationFactor, RingEpoch, Zone,
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// The placement of a cluster at one epoch.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[kube(
    group = "annulus.dev",
    version = "v1alpha1",
    kind = "KVRing",
    plural = "kvrings",
    shortname = "kvr",
    category = "annulus",
    namespaced,
    derive = "PartialEq",
    doc = "The placement of a KVCluster at one epoch. Written by the operator; deleting it loses nothing, for it is rebuilt from the nodes.",
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".spec.epoch"),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".spec.partitions"),
    printcolumn(
        name = "Copies",
        type_ = "integer",
        json_path = ".spec.replicationFactor"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(
    validation = Rule::new("self.epoch > oldSelf.epoch || self.fingerprint == oldSelf.fingerprint")
        .message("a placement is never changed, only followed by one of a higher epoch"),
    validation = Rule::new("self.clusterId == oldSelf.clusterId && self.hashSeed == oldSelf.hashSeed && self.partitions == oldSelf.partitions")
        .message("clusterId, hashSeed and partitions are immutable")
)]
#[serde(rename_all = "camelCase")]
pub struct KVRingSpec {
    /// Identity of the ring, a UUID.
    #[schemars(length(max = 36))]
    pub cluster_id: String,
    /// Version number of the placement, from 1.
    #[schemars(range(min = 1))]
    pub epoch: i64,
    /// Seed of the key hash: 16 hexadecimal digits.
    #[schemars(length(max = 16))]
    pub hash_seed: String,
    /// Number of partitions.
    #[schemars(range(min = 1, max = 16384))]
    pub partitions: i32,
    /// Owners per partition.
    #[schemars(range(min = 1, max = 255))]
    pub replication_factor: i32,
    /// The nodes, ascending by id.
    #[schemars(length(max = 1024))]
    pub nodes: Vec<RingNode>,
    /// Owners of each partition as positions in `nodes`: `0,1,2 1,2,0 …`. The old owners until a
    /// move reaches READ_NEW, then the new ones.
    #[schemars(length(max = 524_288))]
    pub owners: String,
    /// The moves under way, ascending by partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2048))]
    pub moves: Vec<RingMove>,
    /// Checksum of the whole document: 16 hexadecimal digits.
    #[schemars(length(max = 16))]
    pub fingerprint: String,
}

/// A node in the placement.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RingNode {
    /// Identity of the node's disk, a UUID.
    #[schemars(length(max = 36))]
    pub id: String,
    /// Name of the KVNode.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Failure domain.
    #[schemars(length(max = 63))]
    pub zone: String,
    /// Weight on the ring.
    #[schemars(range(min = 1))]
    pub capacity: i32,
    /// Whether it is to keep its vnodes.
    pub state: RingNodeState,
    /// Where clients' gRPC is served, `host:port`.
    #[schemars(length(max = 255))]
    pub grpc: String,
    /// Where clients' HTTP is served.
    #[schemars(length(max = 255))]
    pub http: String,
    /// Where other nodes are served.
    #[schemars(length(max = 255))]
    pub peer: String,
    /// Where the operator is served.
    #[schemars(length(max = 255))]
    pub admin: String,
}

/// One owner of one partition is exchanged, added (no `remove`) or removed (no `add`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RingMove {
    /// Its name: the epoch that it first appeared in and its partition, `e12-p7`.
    #[schemars(length(max = 32))]
    pub id: String,
    /// The owner that joins, a position in `nodes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1023))]
    pub add: Option<i32>,
    /// The owner that leaves, a position in `nodes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1023))]
    pub remove: Option<i32>,
    /// Where it is: PREPARE, DUAL, STREAM, VERIFY, READ_NEW, COMMIT or CLEANUP.
    #[schemars(length(max = 16))]
    pub stage: String,
    /// The epoch that it entered its stage at.
    #[schemars(range(min = 1))]
    pub since: i64,
    /// The leaver was given up; the others are the sources.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// What the placement wants of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RingNodeState {
    /// It keeps its vnodes.
    Active,
    /// It gives them away.
    Draining,
}

/// Why a `KVRing` holds no usable placement. Delete the object: it is rebuilt from the nodes.
#[derive(Debug, Error)]
pub enum RingDocumentError {
    /// A field cannot be read.
    #[error("field {field} cannot be read: {value:?}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// The fields do not make a placement.
    #[error("it is no placement: {0}")]
    Placement(#[from] PlacementError),
}

impl From<&Placement> for KVRingSpec {
    fn from(placement: &Placement) -> Self {
        Self {
            cluster_id: placement.cluster_id().to_string(),
            epoch: saturating(placement.epoch().0),
            hash_seed: format!("{:016x}", placement.hash_seed().0),
            partitions: narrow(placement.partitions().get()),
            replication_factor: i32::from(placement.replication_factor().get()),
            nodes: placement.nodes().iter().map(RingNode::from).collect(),
            owners: owners_text(placement),
            moves: placement.moves().iter().map(RingMove::from).collect(),
            fingerprint: format!("{:016x}", placement.fingerprint()),
        }
    }
}

impl TryFrom<&KVRingSpec> for Placement {
    type Error = RingDocumentError;

    fn try_from(spec: &KVRingSpec) -> Result<Self, Self::Error> {
        let number = |field, value: i32| u32::try_from(value).map_err(|_| bad(field, value));
        let nodes = spec
            .nodes
            .iter()
            .map(Node::try_from)
            .collect::<Result<_, _>>()?;
        let factor = u8::try_from(spec.replication_factor)
            .ok()
            .and_then(|factor| ReplicationFactor::new(factor).ok())
            .ok_or_else(|| bad("replicationFactor", spec.replication_factor))?;
        let document = PlacementDocument {
            cluster_id: parsed::<Uuid>("clusterId", &spec.cluster_id)?,
            epoch: RingEpoch(u64::try_from(spec.epoch).map_err(|_| bad("epoch", spec.epoch))?),
            hash_seed: HashSeed(hex("hashSeed", &spec.hash_seed)?),
            partitions: PartitionCount::new(number("partitions", spec.partitions)?)
                .map_err(|_| bad("partitions", spec.partitions))?,
            replication_factor: factor,
            nodes,
            owners: owners_parsed(&spec.owners, factor)?,
            moves: spec
                .moves
                .iter()
                .map(Move::try_from)
                .collect::<Result<_, _>>()?,
            fingerprint: Some(hex("fingerprint", &spec.fingerprint)?),
        };
        Ok(Placement::try_from(document)?)
    }
}

impl From<&Node> for RingNode {
    fn from(node: &Node) -> Self {
        Self {
            id: node.id.to_string(),
            name: node.name.clone(),
            zone: node.zone.0.clone(),
            capacity: narrow(node.capacity.get()),
            state: match node.state {
                NodeState::Active => RingNodeState::Active,
                NodeState::Draining => RingNodeState::Draining,
            },
            grpc: node.addresses.grpc.clone(),
            http: node.addresses.http.clone(),
            peer: node.addresses.peer.clone(),
            admin: node.addresses.admin.clone(),
        }
    }
}

impl TryFrom<&RingNode> for Node {
    type Error = RingDocumentError;

    fn try_from(node: &RingNode) -> Result<Self, Self::Error> {
        let capacity = u32::try_from(node.capacity)
            .ok()
            .and_then(NonZeroU32::new)
            .ok_or_else(|| bad("nodes[].capacity", node.capacity))?;
        Ok(Self {
            id: parsed::<NodeId>("nodes[].id", &node.id)?,
            name: node.name.clone(),
            addresses: NodeAddresses {
                peer: node.peer.clone(),
                grpc: node.grpc.clone(),
                http: node.http.clone(),
                admin: node.admin.clone(),
            },
            zone: Zone(node.zone.clone()),
            capacity: Capacity(capacity),
            state: match node.state {
                RingNodeState::Active => NodeState::Active,
                RingNodeState::Draining => NodeState::Draining,
            },
        })
    }
}

fn owners_text(placement: &Placement) -> String {
    let mut text = String::new();
    for partition in placement.partitions().ids() {
        for (at, owner) in placement.owners(partition).iter().enumerate() {
            let separator = match (at, text.is_empty()) {
                (_, true) => "",
                (0, false) => " ",
                (_, false) => ",",
            };
            write!(text, "{separator}{}", owner.0).expect("writing to a string cannot fail");
        }
    }
    text
}

/// Rows with fewer owners than `factor` are filled with vacant places.
fn owners_parsed(
    text: &str,
    factor: ReplicationFactor,
) -> Result<Vec<NodeIndex>, RingDocumentError> {
    let mut owners = Vec::new();
    for row in text.split(' ') {
        let places = owners.len() + usize::from(factor.get());
        for number in row.split(',') {
            let owner = number.parse().map_err(|_| bad("owners", number))?;
            owners.push(NodeIndex(owner));
        }
        if owners.len() > places {
            return Err(bad("owners", row));
        }
        owners.resize(places, NodeIndex::VACANT);
    }
    Ok(owners)
}

impl From<&Move> for RingMove {
    fn from(it: &Move) -> Self {
        Self {
            id: it.id.to_string(),
            add: it.add.map(|node| i32::from(node.0)),
            remove: it.remove.map(|node| i32::from(node.0)),
            stage: it.stage.to_string(),
            since: saturating(it.since.0),
            lost: it.lost,
        }
    }
}

impl TryFrom<&RingMove> for Move {
    type Error = RingDocumentError;

    fn try_from(it: &RingMove) -> Result<Self, Self::Error> {
        let node = |field, node: Option<i32>| {
            let index = node.map(|node| u16::try_from(node).map_err(|_| bad(field, node)));
            index.map(|index| index.map(NodeIndex)).transpose()
        };
        Ok(Self {
            id: parsed("moves[].id", &it.id)?,
            add: node("moves[].add", it.add)?,
            remove: node("moves[].remove", it.remove)?,
            stage: parsed("moves[].stage", &it.stage)?,
            since: RingEpoch(u64::try_from(it.since).map_err(|_| bad("moves[].since", it.since))?),
            lost: it.lost,
        })
    }
}

fn hex(field: &'static str, text: &str) -> Result<u64, RingDocumentError> {
    u64::from_str_radix(text, 16).map_err(|_| bad(field, text))
}

fn parsed<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, RingDocumentError> {
    text.parse().map_err(|_| bad(field, text))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers hand over numbers as they are"
)]
fn bad(field: &'static str, value: impl ToString) -> RingDocumentError {
    RingDocumentError::Field {
        field,
        value: value.to_string(),
    }
}

fn narrow(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn saturating(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
