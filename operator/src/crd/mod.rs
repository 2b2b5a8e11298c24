//! The custom resources: types, schemas and the CEL rules that the API server enforces.
//!
//! Owns the API's shape and its defaults. What needs more than one object, or the ring, to
//! judge is left to `cluster_controller::validate`. The manifests in `crds/` and in the chart
//! are generated from here by [`all`]; they stay far below the 256 KiB that a client-side
//! apply can carry.

mod kvcluster;
mod kvcluster_status;
mod kvnode;
mod kvring;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

pub use kvcluster::{
    Consistency, ImagePullPolicy, KVCluster, KVClusterSpec, MAX_NODES_PER_POOL, Pool, Rebalance,
    Resources, RetentionPolicy, Storage,
};
pub use kvcluster_status::{KVClusterStatus, Operation, OperationType};
pub use kvnode::{DesiredNodeState, KVNode, KVNodeSpec, KVNodeStatus, NodePhase};
pub use kvring::{KVRing, KVRingSpec, RingDocumentError, RingNode, RingNodeState};

/// API group of all three resources.
pub const GROUP: &str = "annulus.dev";

/// Every CRD as (file name, YAML).
pub fn all() -> Vec<(&'static str, String)> {
    vec![
        ("kvclusters.yaml", manifest(KVCluster::crd())),
        ("kvnodes.yaml", manifest(KVNode::crd())),
        ("kvrings.yaml", manifest(KVRing::crd())),
    ]
}

/// The CRD as YAML, with the formats removed that the API server does not know.
fn manifest(crd: CustomResourceDefinition) -> String {
    let mut value = serde_json::to_value(crd).expect("a CRD is plain data");
    strip_unknown_formats(&mut value);
    serde_yaml::to_string(&value).expect("a JSON value can be written as YAML")
}

/// Formats such as `uint8` would make the API server warn at every apply.
fn strip_unknown_formats(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let unknown = fields
                .get("format")
                .and_then(Value::as_str)
                .is_some_and(|format| format.starts_with("uint"));
            if unknown {
                fields.remove("format");
            }
            fields.values_mut().for_each(strip_unknown_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_unknown_formats),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
