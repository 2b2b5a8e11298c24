//! `KVNode`: one node of a cluster, kept by the operator.
//!
//! The spec is what the operator decided or learned once (zone, identity, image); the status
//! is what it saw last. A `KVNode` owns its Pod. Its claim carries the same name but is owned
//! by no `KVNode`: garbage collection must never delete data.
#![expect(clippy::duplicated_attributes, reason = "columns are alike")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One node of a cluster.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "annulus.dev",
    version = "v1alpha1",
    kind = "KVNode",
    plural = "kvnodes",
    shortname = "kvn",
    category = "annulus",
    namespaced,
    status = "KVNodeStatus",
    derive = "PartialEq",
    doc = "One node of a KVCluster. Written by the operator.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.cluster"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.ringEpoch"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.zone"),
    printcolumn(name = "Vnodes", type_ = "integer", json_path = ".status.vnodes"),
    printcolumn(
        name = "Id",
        type_ = "string",
        json_path = ".spec.nodeId",
        priority = "1"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct KVNodeSpec {
    /// Name of the KVCluster.
    pub cluster: String,
    /// Name of the pool.
    pub pool: String,
    /// Number within the pool, from 0.
    pub ordinal: i32,
    /// Weight on the ring.
    pub capacity: i32,
    /// Image that the node's next pod will run.
    pub image: String,
    /// What the operator wants of the node.
    pub desired_state: DesiredNodeState,
    /// Zone of the machine that it runs on; known once its pod is scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Identity of the node's disk, a UUID; known once it reports for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// Uid of the claim that it was reported from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
}

/// What the operator wants of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DesiredNodeState {
    /// It holds its share of the data.
    #[default]
    Active,
    /// Its data is being moved to other nodes.
    Draining,
    /// It is to go.
    Gone,
}

/// What the operator saw of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KVNodeStatus {
    /// Stable DNS name of the node.
    #[serde(default)]
    pub address: String,
    /// What the node is doing.
    #[serde(default)]
    pub phase: NodePhase,
    /// Epoch of the placement that the node holds; 0 for none.
    #[serde(default)]
    pub ring_epoch: i64,
    /// Partitions that it holds a copy of.
    #[serde(default)]
    pub vnodes: i64,
    /// Bytes of data on its disk, rounded to whole 64 MiB.
    #[serde(default)]
    pub data_bytes: i64,
    /// Free bytes of its disk, rounded to whole GiB.
    #[serde(default)]
    pub disk_free_bytes: i64,
    /// How often its data directory was opened.
    #[serde(default)]
    pub generation: i64,
    /// Version of the program that it runs.
    #[serde(default)]
    pub version: String,
    /// Since when the ring's node of this name has not answered, or another disk has in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Time>,
}

/// What a node is doing, as far as the operator knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum NodePhase {
    /// Its pod does not run or does not answer.
    #[default]
    Unreachable,
    /// It opens its data.
    Starting,
    /// It has not been told its placement yet.
    WaitingForPlacement,
    /// It serves requests.
    Serving,
    /// It finishes what it has before it stops.
    Draining,
}
