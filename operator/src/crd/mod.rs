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

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON,
};
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::status::{ConditionType, Reason};

pub use kvcluster::{
    Approval, Consistency, ImagePullPolicy, KVCluster, KVClusterSpec, MAX_NODES_PER_POOL, Pool,
    Rebalance, Resources, RetentionPolicy, Storage,
};
pub use kvcluster_status::{KVClusterStatus, Operation, OperationPlan, OperationType};
pub use kvnode::{DesiredNodeState, KVNode, KVNodeSpec, KVNodeStatus, NodePhase};
pub use kvring::{KVRing, KVRingSpec, RingDocumentError, RingMove, RingNode, RingNodeState};

/// API group of all three resources.
pub const GROUP: &str = "annulus.dev";

/// Every CRD as (file name, YAML).
pub fn all() -> Vec<(&'static str, String)> {
    vec![
        ("kvclusters.yaml", cluster_manifest()),
        ("kvnodes.yaml", manifest(KVNode::crd())),
        ("kvrings.yaml", manifest(KVRing::crd())),
    ]
}

/// The CRD of KVClusters. A new one says at once that nobody has looked at it: without any status
/// kstatus would call it done, and `helm install --wait` would not wait.
fn cluster_manifest() -> String {
    let mut crd = KVCluster::crd();
    let mut status = crd
        .spec
        .versions
        .first_mut()
        .and_then(|version| version.schema.as_mut())
        .and_then(|schema| schema.open_api_v3_schema.as_mut())
        .and_then(|root| root.properties.as_mut())
        .and_then(|properties| properties.get_mut("status"));
    let status = status.as_mut().expect("the type has a status");
    status.default = Some(JSON(json!({"conditions": [{
        "type": ConditionType::Ready.as_str(),
        "status": "Unknown",
        "reason": Reason::NotReconciled.as_str(),
        "message": "no operator has looked at it yet",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }]})));
    manifest(crd)
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
