//! What the operator says of a `KVCluster`.
#![expect(
    unreachable_pub,
    reason = "KubeSchema copies each struct into a function"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator observed, as of `observedGeneration`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KVClusterStatus {
    /// The `metadata.generation` that this status speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// One condition of each type, in a fixed order.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Number of nodes.
    #[serde(default)]
    pub nodes: i32,
    /// Number of nodes that serve.
    #[serde(default)]
    pub ready_nodes: i32,
    /// `<readyNodes>/<nodes>`.
    #[serde(default)]
    pub ready: String,
    /// The cluster's state in a word.
    #[serde(default)]
    pub summary: String,
    /// Label selector of the pods.
    #[serde(default)]
    pub selector: String,
    /// Version number of the placement; absent before the ring is founded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_epoch: Option<i64>,
    /// The operation in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

/// An operation in progress.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// What is done.
    pub r#type: OperationType,
    /// How far it is.
    pub phase: String,
    /// Partitions that are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions_done: Option<i64>,
    /// Partitions to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions_total: Option<i64>,
    /// Bytes moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_done: Option<i64>,
    /// Bytes to move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<i64>,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When it will probably end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<Time>,
    /// What it waits for at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Whether changing the spec back ends it without harm.
    #[serde(default)]
    pub cancellable: bool,
    /// What is to move; absent where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<OperationPlan>,
    /// When the figures were renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Time>,
}

/// What is to move, as estimated before it began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationPlan {
    /// Its name: the same for as long as the same nodes, weights and copies are desired.
    #[serde(default)]
    pub id: String,
    /// Moves of one copy of one partition each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moves: Option<i64>,
    /// Bytes to copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Seconds that copying takes at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// From which node to which, and how many; the largest only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<String>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum OperationType {
    /// The cluster's first placement is made and handed to its nodes.
    Founding,
    /// Nodes join.
    ScaleOut,
    /// Nodes leave.
    ScaleIn,
    /// The copies of a lost node are made anew.
    Replace,
    /// A node's data is moved away; it stays.
    Drain,
    /// Another number of copies is kept.
    ChangeReplicationFactor,
    /// Data is spread anew.
    Rebalance,
}
