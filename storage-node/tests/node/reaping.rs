//! Deleted keys and expired values vanish from the disks of all owners, and only then.

use annulus_node::config::{Config, EngineKind};
use annulus_proto::admin::v1 as pb;
use serde_json::{Value, json};
use std::time::Duration;

use crate::cluster::{Cluster, until};

const SECOND: Duration = Duration::from_secs(1);

/// All ages as short as they may be.
fn hurry(config: &mut Config) {
    config.limits.default_request_timeout = 2 * SECOND;
    config.limits.max_request_timeout = 2 * SECOND;
    config.hints.ttl = SECOND / 4;
    config.reaping.max_clock_skew = SECOND / 4;
    config.reaping.age = 3 * SECOND;
    config.reaping.interval = SECOND / 4;
}

/// How many keys a node has on disk.
async fn keys(ring: &Cluster, node: usize) -> usize {
    let mut admin = ring.admin(node).await;
    let mut count = 0;
    for partition in 0..16 {
        let request = pb::ListDigestsRequest { partition };
        let mut pages = admin.list_digests(request).await.unwrap().into_inner();
        while let Some(page) = pages.message().await.unwrap() {
            count += page.digests.len();
        }
    }
    count
}

async fn status(ring: &Cluster, node: usize) -> Value {
    let url = format!("http://{}/v1/status", ring.addresses(node).admin);
    ring.http
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_and_expired_keys_vanish_from_all_disks() {
    let ring = Cluster::start_with(3, EngineKind::Rocksdb, hurry).await;
    for key in 0..30 {
        let path = format!("/kv/{key}?w=all");
        let written = ring.put_kv(key % 3, &path, "v", &Value::Null).await;
        assert_eq!(written.status, 201);
        if key < 20 {
            let deleted = ring.send((key + 1) % 3, "DELETE", &path, "").await;
            assert_eq!(deleted.status, 200, "{deleted:?}");
        }
    }
    let body = json!({"value": "short", "ttl": 1}).to_string();
    assert_eq!(
        ring.send(0, "PUT", "/v1/data/t?w=all", body).await.status,
        200
    );
    for node in 0..3 {
        assert_eq!(keys(&ring, node).await, 31, "nothing is old enough");
    }
    for node in 0..3 {
        until(async || keys(&ring, node).await == 10).await;
    }
    let (mut reaped, mut dropped) = (0, 0);
    for node in 0..3 {
        let status = status(&ring, node).await;
        reaped += status["reaping"]["reaped"].as_u64().unwrap();
        dropped += status["reaping"]["expired_values_dropped"]
            .as_u64()
            .unwrap();
        assert_eq!(status["reaping"]["blocked"], json!([]), "{status}");
    }
    assert!(reaped >= 21, "{reaped}");
    assert_eq!(dropped, 3, "on each disk");
    for key in 20..30 {
        let found = ring.get(key % 3, &format!("/kv/{key}?r=all")).await;
        assert_eq!(found.values(), ["v"]);
    }
    let again = ring.put_kv(1, "/kv/0", "again", &Value::Null).await;
    assert_eq!(again.status, 201);
    assert_eq!(ring.get(2, "/kv/0").await.values(), ["again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_owner_down_nothing_goes_and_the_status_says_why() {
    let mut ring = Cluster::start_with(3, EngineKind::Rocksdb, hurry).await;
    for key in 0..10 {
        let path = format!("/kv/{key}?w=all");
        assert_eq!(ring.put_kv(0, &path, "v", &Value::Null).await.status, 201);
        assert_eq!(ring.send(0, "DELETE", &path, "").await.status, 200);
    }
    let down = status(&ring, 2).await["node_id"].clone();
    ring.stop(2).await;
    until(async || {
        let mut held_up = 0;
        for node in 0..2 {
            let status = status(&ring, node).await;
            for block in status["reaping"]["blocked"].as_array().unwrap() {
                assert_eq!(block["reason"], "owner_down", "{status}");
                assert_eq!(block["node_id"], down, "{status}");
                held_up += block["tombstones"].as_u64().unwrap();
            }
        }
        held_up == 10
    })
    .await;
    for node in 0..2 {
        assert_eq!(keys(&ring, node).await, 10);
        let metrics = format!("http://{}/metrics", ring.addresses(node).admin);
        let metrics = ring
            .http
            .get(metrics)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        for name in [
            "annulus_node_tombstones_blocked{reason=\"owner_down\"}",
            "annulus_node_tombstones_reaped_total 0",
        ] {
            assert!(metrics.contains(name), "{name}\n{metrics}");
        }
    }
}
