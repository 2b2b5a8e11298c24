//! A node that was killed is handed what it missed, by real processes over real disks.

use std::collections::BTreeSet;

use annulus_node::config::EngineKind;
use annulus_proto::admin::v1 as pb;
use annulus_proto::admin::v1::admin_client::AdminClient;
use futures::stream::{StreamExt as _, iter};
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};
use crate::process::{Process, found_ring};

/// Hints are delivered soon. The disk is the machine's, however full that is.
const CONFIG: &str = "hints: {replay_jitter: 100ms}\n\
     storage: {free_space: {warn_percent: 4, background_percent: 3, values_percent: 2, reserve_percent: 1}}";

const KEYS: usize = 1000;

/// Partitions of the rings here.
const PARTITIONS: u32 = 16;

/// The keys that the node's own copies hold; nobody else is asked, and nothing is repaired by it.
async fn own_keys(node: &Process) -> BTreeSet<Vec<u8>> {
    let address = format!("http://{}", node.addresses().admin);
    let mut admin = AdminClient::connect(address).await.unwrap();
    let mut keys = BTreeSet::new();
    for partition in 0..PARTITIONS {
        let request = pb::ListDigestsRequest { partition };
        let mut pages = admin.list_digests(request).await.unwrap().into_inner();
        while let Some(page) = pages.message().await.unwrap() {
            keys.extend(page.digests.into_iter().map(|digest| digest.key.to_vec()));
        }
    }
    keys
}

/// Writes that the node keeps for others.
fn pending(status: &Value) -> u64 {
    let kept = status["hints"].as_array().unwrap().iter();
    kept.map(|kept| kept["hints"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_handed_what_it_missed_when_it_is_back() {
    let (one, two) = (Process::start(CONFIG).await, Process::start(CONFIG).await);
    let mut killed = Process::start(CONFIG).await;
    found_ring(&[&one, &two, &killed]).await;
    killed.kill().await;

    let client = reqwest::Client::new();
    let write = async |key: usize| {
        let node = if key.is_multiple_of(2) { &one } else { &two };
        let url = format!("http://{}/v1/data/key-{key}", node.addresses().http);
        let body = json!({"value": key}).to_string();
        let answer = client.put(url).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "key-{key}");
    };
    iter((0..KEYS).map(write))
        .buffer_unordered(32)
        .collect::<Vec<_>>()
        .await;
    until(async || pending(&one.status().await) + pending(&two.status().await) == KEYS as u64)
        .await;

    killed.restart().await;
    killed.until_ready().await;
    until(async || pending(&one.status().await) + pending(&two.status().await) == 0).await;
    let expected: BTreeSet<_> = (0..KEYS)
        .map(|key| format!("key-{key}").into_bytes())
        .collect();
    assert_eq!(own_keys(&killed).await, expected);
    let metrics = format!("http://{}/metrics", killed.addresses().admin);
    let metrics = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    let taken = format!("annulus_node_hints_received_total{{outcome=\"applied\"}} {KEYS}");
    assert!(metrics.contains(&taken), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_outlive_the_node_that_keeps_them() {
    let (mut one, two) = (Process::start(CONFIG).await, Process::start(CONFIG).await);
    let mut killed = Process::start(CONFIG).await;
    found_ring(&[&one, &two, &killed]).await;
    killed.kill().await;
    let client = reqwest::Client::new();
    let url = format!("http://{}/v1/data/k", one.addresses().http);
    let body = json!({"value": 1}).to_string();
    assert_eq!(
        client.put(url).body(body).send().await.unwrap().status(),
        200
    );
    let kept = async || pending(&one.status().await) + pending(&two.status().await);
    until(async || kept().await == 1).await;
    let before = pending(&one.status().await);
    one.kill().await;
    one.restart().await;
    one.until_ready().await;
    assert_eq!(pending(&one.status().await), before);
    killed.restart().await;
    until(async || own_keys(&killed).await.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sloppy_writes_are_refused_where_the_keyspace_does_not_allow_them() {
    let ring = Cluster::start(1, EngineKind::Memory).await;
    let refused = ring.put_kv(0, "/kv/x?sloppy=true", "v", &json!(null)).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_argument"));
    assert_eq!(ring.get(0, "/kv/x").await.status, 404);
    let refused = ring
        .put_kv(0, "/kv/x?sloppy=maybe", "v", &json!(null))
        .await;
    assert_eq!(refused.status, 400);
}
