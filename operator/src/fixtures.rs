//! Objects for tests.

use annulus_ring::{Move, MoveReport, NodeId, Placement, Streamed};
use kube::api::ObjectMeta;

use crate::cluster_controller::NodeDefaults;
use crate::crd::{
    Approval, Consistency, ImagePullPolicy, KVCluster, KVClusterSpec, Pool, Rebalance, Resources,
    Storage,
};
use crate::node_client::{MoveProgress, MovesReport};

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

/// What a node reports that holds this placement and has done at once all that its moves ask of it: 400 of 1,000 bytes
/// each. Where nobody joins, those that stay synchronise.
pub(crate) fn moves_done(held: &Placement, node: NodeId) -> MovesReport {
    let all: Vec<NodeId> = held.nodes().iter().map(|node| node.id).collect();
    let is_node = |index| held.node(index).id == node;
    let concerns = |it: &&Move| {
        let both = it.add.into_iter().chain(it.remove);
        both.chain(held.syncers(it)).any(is_node)
    };
    let done = |it: &Move| MoveProgress {
        report: MoveReport {
            id: it.id,
            ready: true,
            streamed: Streamed {
                bytes: 400,
                keys: 4,
                from: all.clone(),
            },
            verified: all.clone(),
            drained: all.clone(),
            cleaned: true,
        },
        expected_bytes: 1_000,
        problem: String::new(),
    };
    MovesReport {
        acked: held.epoch(),
        moves: held.moves().iter().filter(concerns).map(done).collect(),
    }
}
