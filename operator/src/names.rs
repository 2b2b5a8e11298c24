//! Names, labels and ports of a cluster's objects: the contract with users and tools.

use std::collections::BTreeMap;

/// Client gRPC.
pub const GRPC_PORT: i32 = 9600;
/// Client HTTP.
pub const HTTP_PORT: i32 = 9601;
/// Traffic between nodes.
pub const PEER_PORT: i32 = 9602;
/// Admin gRPC, metrics and probes.
pub const ADMIN_PORT: i32 = 9603;

/// The field manager of everything that the operator applies.
pub const FIELD_MANAGER: &str = "annulus-operator";

/// Label: name of the KVCluster.
pub const CLUSTER_LABEL: &str = "annulus.dev/cluster";
/// Label: name of the pool.
pub const POOL_LABEL: &str = "annulus.dev/pool";
/// Label: name of the KVNode.
pub const NODE_LABEL: &str = "annulus.dev/node";
/// Label by which the operator finds its own objects: the limit of all its watches.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Annotation: what the pod was built from.
pub const REVISION_ANNOTATION: &str = "annulus.dev/revision";

/// Annotation of a KVCluster: the id of the plan that a person approved.
pub const APPROVE_ANNOTATION: &str = "annulus.dev/approve";
/// Annotation of a KVCluster: identities, separated by commas, of disks that never return.
pub const DESTROYED_ANNOTATION: &str = "annulus.dev/destroyed-disks";
/// Annotation of a KVNode: `true` has its data moved away.
pub const DRAIN_ANNOTATION: &str = "annulus.dev/drain";

const COMPONENT_LABEL: &str = "app.kubernetes.io/component";

/// Selector of the operator's watches.
pub(crate) fn own_objects_selector() -> String {
    format!("{MANAGED_BY_LABEL}={FIELD_MANAGER}")
}

/// Labels of every object of a cluster.
pub(crate) fn cluster_labels(cluster: &str) -> BTreeMap<String, String> {
    labels(&[
        ("app.kubernetes.io/name", "annulus"),
        ("app.kubernetes.io/instance", cluster),
        (MANAGED_BY_LABEL, FIELD_MANAGER),
        (CLUSTER_LABEL, cluster),
    ])
}

/// Labels of what belongs to one node.
pub(crate) fn node_labels(cluster: &str, pool: &str, node: &str) -> BTreeMap<String, String> {
    let mut all = cluster_labels(cluster);
    all.extend(pod_selector(cluster));
    all.extend(labels(&[(POOL_LABEL, pool), (NODE_LABEL, node)]));
    all
}

/// Labels that select the pods of a cluster.
pub(crate) fn pod_selector(cluster: &str) -> BTreeMap<String, String> {
    labels(&[(CLUSTER_LABEL, cluster), (COMPONENT_LABEL, "node")])
}

/// [`pod_selector`] as the `scale` subresource wants it.
pub(crate) fn pod_selector_text(cluster: &str) -> String {
    let pairs: Vec<String> = pod_selector(cluster)
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// The headless Service between the nodes.
pub(crate) fn peers_service(cluster: &str) -> String {
    format!("{cluster}-peers")
}

/// The nodes' configuration.
pub(crate) fn config_map(cluster: &str) -> String {
    format!("{cluster}-config")
}

/// The key under which contexts are tagged.
pub(crate) fn context_key_secret(cluster: &str) -> String {
    format!("{cluster}-context-key")
}

/// The nodes' service account.
pub(crate) fn service_account(cluster: &str) -> String {
    format!("{cluster}-node")
}

/// The KVNode, its pod and its claim.
pub(crate) fn node(cluster: &str, pool: &str, ordinal: i32) -> String {
    format!("{cluster}-{pool}-{ordinal}")
}

/// The stable DNS name of a node.
pub(crate) fn node_host(cluster: &str, namespace: &str, node: &str) -> String {
    format!("{node}.{}.{namespace}.svc", peers_service(cluster))
}

/// The zone of nodes whose machine has no zone label: all of them together are one.
pub(crate) const NO_ZONE: &str = "default";
