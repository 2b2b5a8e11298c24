//! A node that missed writes gets them from the others, without anybody reading.

use std::collections::BTreeMap;
use std::time::Duration;

use annulus_node::config::EngineKind;
use annulus_proto::admin::v1::{
    GetStatusRequest, GetStatusResponse, ListVnodesRequest, RequestComparisonRequest,
};
use serde_json::json;
use tonic::Code;

use crate::cluster::{Cluster, until};

const KEYS: u32 = 200;

/// Each partition's tree as a node tells it: hash and number of keys.
async fn trees(ring: &Cluster, node: usize) -> BTreeMap<u32, (u64, u32)> {
    let vnodes = ring
        .admin(node)
        .await
        .list_vnodes(ListVnodesRequest {})
        .await;
    let vnodes = vnodes.unwrap().into_inner().vnodes.into_iter();
    vnodes
        .map(|vnode| (vnode.partition, (vnode.tree_hash, vnode.tree_keys)))
        .collect()
}

fn keys(trees: &BTreeMap<u32, (u64, u32)>) -> u32 {
    trees.values().map(|(_, keys)| keys).sum()
}

async fn metrics(ring: &Cluster, node: usize) -> String {
    let metrics = format!("http://{}/metrics", ring.addresses(node).admin);
    let metrics = ring.http.get(metrics).send().await.unwrap();
    metrics.text().await.unwrap()
}

async fn status(ring: &Cluster, node: usize) -> GetStatusResponse {
    let mut admin = ring.admin(node).await;
    let status = admin.get_status(GetStatusRequest {}).await;
    status.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_down_gets_what_it_missed() {
    let mut ring = Cluster::start_with(3, EngineKind::Rocksdb, |config| {
        config.anti_entropy.interval = Duration::from_secs(1);
        config.anti_entropy.outage = Duration::from_millis(100);
    })
    .await;
    ring.put_kv(0, "/kv/before?w=all", "v", &json!(null)).await;
    ring.stop(2).await;
    for key in 0..KEYS as usize {
        let path = format!("/kv/missed-{key}");
        let written = ring.put_kv(key % 2, &path, "v", &json!(null)).await;
        assert_eq!(written.status, 201, "{written:?}");
    }
    ring.restart(2).await;
    until(async || {
        let here = trees(&ring, 2).await;
        keys(&here) == 1 + KEYS && here == trees(&ring, 0).await && here == trees(&ring, 1).await
    })
    .await;
    let read = ring.get(2, "/kv/missed-7?r=one").await;
    assert_eq!(read.values(), ["v"]);

    let metrics = metrics(&ring, 2).await;
    for name in ["lag_seconds", "bound_seconds", "overdue_pairs 0.0"] {
        assert!(
            metrics.contains(&format!("annulus_node_anti_entropy_{name}")),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hints_have_lost_is_compared_when_the_node_is_back() {
    let mut ring = Cluster::start_with(3, EngineKind::Rocksdb, |config| {
        // Every hint is dropped, and but for those after a start no comparison comes by itself.
        config.hints.max_bytes = 0;
        config.anti_entropy.interval = Duration::from_secs(3600);
        config.anti_entropy.bound = Duration::from_secs(7200);
        config.anti_entropy.outage = Duration::from_secs(3600);
    })
    .await;
    let marked = async |ring: &Cluster| {
        status(ring, 0).await.repairs_needed + status(ring, 1).await.repairs_needed
    };
    assert_eq!(marked(&ring).await, 0);
    ring.stop(2).await;
    for key in 0..KEYS as usize {
        let path = format!("/kv/missed-{key}");
        let written = ring.put_kv(key % 2, &path, "v", &json!(null)).await;
        assert_eq!(written.status, 201, "{written:?}");
    }
    until(async || marked(&ring).await > 0).await;
    ring.restart(2).await;
    until(async || marked(&ring).await == 0).await;
    assert_eq!(keys(&trees(&ring, 2).await), KEYS);
    let asked = [metrics(&ring, 0).await, metrics(&ring, 1).await].concat();
    // Of half of the pairs the node with the marks makes no regular comparisons.
    assert!(asked.contains("reason=\"hints_dropped\""), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_may_be_asked_for_between_owners() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    let ask = async |partition, node_id| {
        let request = RequestComparisonRequest { partition, node_id };
        ring.admin(0).await.request_comparison(request).await
    };
    ask(3, status(&ring, 1).await.node_id).await.unwrap();
    let to_itself = ask(3, status(&ring, 0).await.node_id).await.unwrap_err();
    assert_eq!(to_itself.code(), Code::NotFound);
    let nowhere = ask(3, "node-1".to_owned()).await.unwrap_err();
    assert_eq!(nowhere.code(), Code::InvalidArgument);
}
