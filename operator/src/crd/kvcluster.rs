//! `KVCluster`: what the user asks for.
//!
//! Every field but `pools[].nodes` has a default. A field that this release cannot change on
//! a living cluster is immutable here, so that a wish is refused instead of ignored.
#![expect(
    unreachable_pub,
    reason = "KubeSchema copies each struct into a function"
)]

use std::collections::BTreeMap;

use clap::ValueEnum;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::crd::kvcluster_status::KVClusterStatus;

/// The most nodes of one pool: an ordinal has at most three digits, so that the name of a
/// pod stays within the 63 characters of a DNS label.
pub const MAX_NODES_PER_POOL: i32 = 1000;

/// A replicated key-value store: pools of nodes on one ring.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "annulus.dev",
    version = "v1alpha1",
    kind = "KVCluster",
    plural = "kvclusters",
    shortname = "kvc",
    category = "annulus",
    namespaced,
    status = "KVClusterStatus",
    derive = "PartialEq",
    doc = "A replicated key-value store: pools of nodes on one ring.",
    scale(
        spec_replicas_path = ".spec.nodes",
        status_replicas_path = ".status.nodes",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready",
        description = "Nodes that serve, of all nodes"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.summary",
        description = "The cluster's state in a word"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.ringEpoch",
        description = "Version number of the placement"),
    printcolumn(name = "Operation", type_ = "string", json_path = ".status.operation.type",
        description = "The operation in progress"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 36")
        .message("the name must be at most 36 characters long: pods are named <cluster>-<pool>-<n>"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("the name must start with a letter and hold only a-z, 0-9 and '-': it is a Service's name"),
    validation = Rule::new("!self.metadata.name.endsWith('-peers')")
        .message("the name must not end in '-peers': <cluster>-peers is the Service between nodes")
)]
#[x_kube(
    validation = Rule::new("(has(self.nodes) ? self.nodes : self.pools.map(p, p.nodes).sum()) >= self.replicationFactor")
        .message("replicationFactor must not exceed the number of nodes in all pools"),
    validation = Rule::new("!has(self.nodes) || size(self.pools) == 1")
        .message("nodes can be set only when there is exactly one pool; use pools[].nodes"),
    validation = Rule::new("!has(self.nodes) || !has(oldSelf.nodes) || self.pools[0].nodes == oldSelf.pools[0].nodes || self.pools[0].nodes == self.nodes")
        .message("spec.nodes (set by `kubectl scale`) overrides pools[0].nodes: change or remove spec.nodes"),
    validation = Rule::new("oldSelf.pools.all(o, self.pools.exists(p, p.name == o.name))")
        .message("a pool cannot be removed or renamed"),
    validation = Rule::new("!string(self.consistency.read).matches('^[0-9]+$') || int(self.consistency.read) <= self.replicationFactor")
        .message("consistency.read must not exceed replicationFactor"),
    validation = Rule::new("!string(self.consistency.write).matches('^[0-9]+$') || int(self.consistency.write) <= self.replicationFactor")
        .message("consistency.write must not exceed replicationFactor")
)]
#[serde(rename_all = "camelCase")]
pub struct KVClusterSpec {
    /// Image of the nodes. Default: the one that the operator was installed with, kept by each
    /// node until this field says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// When nodes pull their image. Default: what the operator was installed with, which is
    /// `IfNotPresent` unless its installation says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,

    /// Copies of every key (N), each on another node. When it changes, copies are made or given up.
    #[serde(default = "default_replication_factor")]
    #[schemars(range(min = 1, max = 9))]
    pub replication_factor: i32,

    /// How many copies answer a request that does not say so itself.
    #[serde(default)]
    pub consistency: Consistency,

    /// Number of slices of the ring: a power of two, well above the number of nodes. Immutable.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 16384))]
    #[x_kube(
        validation = Rule::new("self in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]")
            .message("partitions must be a power of two from 1 to 16384"),
        validation = Rule::new("self == oldSelf").message("partitions is immutable")
    )]
    pub partitions: i32,

    /// Number of nodes of the only pool; overrides `pools[0].nodes`. `kubectl scale` sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub nodes: Option<i32>,

    /// Groups of like nodes.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub pools: Vec<Pool>,

    /// Limits of moving partitions between nodes.
    #[serde(default)]
    pub rebalance: Rebalance,

    /// How long a node may be missing before it is given up, such as `15m`: one whose disk is lost
    /// is replaced then.
    #[serde(default = "default_replace_after")]
    #[schemars(length(min = 2, max = 12), regex(pattern = r"^[0-9]+(s|m|h|d)$"))]
    pub replace_after: String,

    /// Whether data moves without being asked. With `Manual` it moves after
    /// `status.operation.plan.id` was written to the annotation `annulus.dev/approve`.
    #[serde(default)]
    pub approval: Approval,
}

/// Whether data moves without being asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Approval {
    /// It does.
    #[default]
    Automatic,
    /// A person approves each plan.
    Manual,
}

/// When a container's image is pulled.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema, ValueEnum,
)]
#[value(rename_all = "PascalCase")]
pub enum ImagePullPolicy {
    /// At every start.
    Always,
    /// When the machine does not have it.
    #[default]
    IfNotPresent,
    /// Never: it must be there.
    Never,
}

impl ImagePullPolicy {
    /// As Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Default number of answers for reads and writes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Consistency {
    /// Copies that must answer a read: `one`, `quorum`, `all`, `local_quorum`, or a number.
    #[serde(deserialize_with = "name_or_number")]
    #[schemars(schema_with = "copies")]
    pub read: String,
    /// Copies that must have stored a write before it is acknowledged; values as for `read`.
    #[serde(deserialize_with = "name_or_number")]
    #[schemars(schema_with = "copies")]
    pub write: String,
}

impl Default for Consistency {
    fn default() -> Self {
        Self {
            read: "quorum".to_owned(),
            write: "quorum".to_owned(),
        }
    }
}

/// A group of like nodes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Part of the nodes' names: `<cluster>-<pool>-<n>`.
    #[serde(default = "default_pool_name")]
    #[schemars(
        length(min = 1, max = 20),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Number of nodes.
    #[schemars(range(min = 1, max = 1000))]
    pub nodes: i32,
    /// Weight on the ring: a node of capacity 2 holds twice as many partitions.
    #[serde(default = "default_capacity")]
    #[schemars(range(min = 1, max = 1000))]
    pub capacity: i32,
    /// Values of `topology.kubernetes.io/zone` that the nodes may run in; empty for all.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub zones: Vec<String>,
    /// CPU and memory of each node.
    #[serde(default)]
    pub resources: Resources,
    /// Disk of each node.
    #[serde(default)]
    pub storage: Storage,
}

/// CPU and memory, as in a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// What the scheduler sets aside.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub requests: BTreeMap<String, Quantity>,
    /// What the container can have at most.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub limits: BTreeMap<String, Quantity>,
}

/// Disk of a node.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[x_kube(
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storageClassName is immutable")
)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of the claim, such as `10Gi`. It can grow where the storage class allows it, never
    /// shrink.
    #[serde(default = "default_size")]
    #[schemars(length(min = 1, max = 24))]
    #[x_kube(
        validation = Rule::new("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))")
            .message("size must be a quantity above 0, such as 10Gi"),
        validation = Rule::new("!isQuantity(self) || !isQuantity(oldSelf) || quantity(self).compareTo(quantity(oldSelf)) >= 0")
            .message("size cannot shrink")
    )]
    pub size: String,
    /// Storage class of the claim; the cluster's default class when absent. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// What becomes of the claims when the KVCluster is deleted.
    #[serde(default)]
    pub when_deleted: RetentionPolicy,
    /// What becomes of a claim when its node is scaled away.
    #[serde(default)]
    pub when_scaled: RetentionPolicy,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            size: default_size(),
            storage_class_name: None,
            when_deleted: RetentionPolicy::Retain,
            when_scaled: RetentionPolicy::Retain,
        }
    }
}

/// What becomes of data that nothing uses any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RetentionPolicy {
    /// It is kept until somebody deletes it by hand.
    #[default]
    Retain,
    /// It is deleted.
    Delete,
}

/// Limits of moving partitions between nodes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rebalance {
    /// Bytes that a node sends or receives per second at most, such as `50Mi`.
    #[schemars(
        length(min = 1, max = 24),
        regex(pattern = r"^[0-9]+(\.[0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$")
    )]
    pub max_bytes_per_second: String,
    /// Partitions that a node sends or receives at the same time at most.
    #[schemars(range(min = 1, max = 64))]
    pub streams_per_node: i32,
}

impl Default for Rebalance {
    fn default() -> Self {
        Self {
            max_bytes_per_second: "50Mi".to_owned(),
            streams_per_node: 2,
        }
    }
}

fn default_replication_factor() -> i32 {
    3
}

fn default_replace_after() -> String {
    "15m".to_owned()
}

fn default_partitions() -> i32 {
    256
}

fn default_pool_name() -> String {
    "default".to_owned()
}

fn default_size() -> String {
    "10Gi".to_owned()
}

fn default_capacity() -> i32 {
    1
}

/// A number of copies: YAML makes an integer of an unquoted one.
fn copies(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 1,
        "maximum": 9,
        "maxLength": 12,
        "pattern": "^(one|quorum|all|local_quorum|[1-9])$"
    })
}

/// Reads `2` as `"2"`.
fn name_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    IntOrString::deserialize(deserializer).map(|value| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name,
    })
}

/// A map of quantities; the type's own schema would bring a page of text each time.
fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "pattern": r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(([KMGTPE]i)|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
        }
    })
}
