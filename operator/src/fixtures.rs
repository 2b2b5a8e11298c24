//! Objects for tests.

use kube::api::ObjectMeta;

use crate::cluster_controller::NodeDefaults;
use crate::crd::{
    Approval, Consistency, ImagePullPolicy, KVCluster, KVClusterSpec, Pool, Rebalance, Resources,
    Storage,
};

/// A cluster `shop/orders` as the API server would give it, with `nodes` nodes in one pool.
pub(crate) fn cluster(nodes: i32) -> KVCluster {
    KVCluster {
        metadata: ObjectMeta {
            name: Some("orders".into()),
            namespace: Some("shop".into()),
            uid: Some("11111111-1111-4111-8111-111111111111".into()),
            generation: Some(1),
            ..ObjectMeta::default()
        },
        spec: KVClusterSpec {
            image: None,
            image_pull_policy: None,
            replication_factor: 3,
            consistency: Consistency::default(),
            partitions: 256,
            nodes: None,
            pools: vec![pool("default", nodes)],
            rebalance: Rebalance::default(),
            replace_after: "15m".into(),
            approval: Approval::Automatic,
        },
        status: None,
    }
}

/// A pool with defaults.
pub(crate) fn pool(name: &str, nodes: i32) -> Pool {
    Pool {
        name: name.into(),
        nodes,
        capacity: 1,
        zones: Vec::new(),
        resources: Resources::default(),
        storage: Storage::default(),
    }
}

/// What an operator installed with the image `node:1` gives to nodes.
pub(crate) fn defaults() -> NodeDefaults {
    NodeDefaults {
        image: Some("node:1".into()),
        pull_policy: ImagePullPolicy::IfNotPresent,
    }
}
