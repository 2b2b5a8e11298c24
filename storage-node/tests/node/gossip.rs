//! What nodes believe of each other, by real processes: in their status, in their metrics, and in what
//! clients are told.

use annulus_proto::admin::v1 as pb;
use annulus_proto::admin::v1::admin_client::AdminClient;
use serde_json::Value;

use crate::cluster::until;
use crate::process::{Process, found_ring};

/// Quick to find out, with time enough to contradict on a busy machine.
const GOSSIP: &str = "gossip: {interval: 250ms, probe_timeout: 250ms, down_after: 2s}";

/// What the observer's status says of another node.
async fn peer(observer: &Process, id: &Value) -> Value {
    let status = observer.status().await;
    let peers = status["peers"].as_array().unwrap();
    let found = peers.iter().find(|peer| peer["node_id"] == *id);
    found.unwrap().clone()
}

/// The same by gRPC, with all that it knows.
async fn sighting(observer: &Process, id: &Value) -> pb::PeerStatus {
    let address = format!("http://{}", observer.addresses().admin);
    let mut admin = AdminClient::connect(address).await.unwrap();
    let status = admin.get_status(pb::GetStatusRequest {}).await.unwrap();
    let mut peers = status.into_inner().peers.into_iter();
    peers.find(|peer| peer.node_id == *id).unwrap()
}

async fn until_seen(observers: &[&Process], id: &Value, liveness: &str) {
    for observer in observers {
        until(async || peer(observer, id).await["liveness"] == liveness).await;
    }
}

async fn metrics(node: &Process) -> String {
    let url = format!("http://{}/metrics", node.addresses().admin);
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_seen_down_by_all_and_alive_when_it_is_back() {
    let (one, two) = (Process::start(GOSSIP).await, Process::start(GOSSIP).await);
    let mut killed = Process::start(GOSSIP).await;
    found_ring(&[&one, &two, &killed]).await;
    let id = killed.status().await["node_id"].clone();
    // It says what it holds, in its second round at the latest.
    until(async || sighting(&one, &id).await.epoch == 1).await;
    assert!(peer(&one, &id).await["heard_ms_ago"].is_u64());

    killed.kill().await;
    until_seen(&[&one, &two], &id, "down").await;
    let seen = sighting(&one, &id).await;
    assert_eq!(seen.liveness(), pb::Liveness::Down);
    assert_eq!((seen.generation, seen.epoch), (1, 1), "{seen:?}");
    let down = "annulus_node_gossip_peers{state=\"down\"} 1";
    until(async || metrics(&one).await.contains(down)).await;

    // What needs it is refused at once, and the refusal says why.
    let url = format!("http://{}/kv/k?r=all&timeout=60s", one.addresses().http);
    let refused = reqwest::get(url).await.unwrap();
    assert_eq!(refused.status(), 503);
    let refused: Value = refused.json().await.unwrap();
    let message = refused["error"]["message"].as_str().unwrap();
    assert_eq!(refused["error"]["code"], "quorum_unavailable");
    assert!(message.contains("1 of the key's 3 owners"), "{message}");

    killed.restart().await;
    killed.until_ready().await;
    until_seen(&[&one, &two], &id, "alive").await;
    until(async || !metrics(&one).await.contains(down)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_in_order_is_known_to_be_down_at_once() {
    // Nobody finds out by itself within this test.
    let slow = "gossip: {interval: 1s, down_after: 10m}";
    let (one, two) = (Process::start(slow).await, Process::start(slow).await);
    let mut stopped = Process::start(slow).await;
    found_ring(&[&one, &two, &stopped]).await;
    let id = stopped.status().await["node_id"].clone();
    until(async || peer(&one, &id).await["heard_ms_ago"].is_u64()).await;
    stopped.terminate().await;
    until_seen(&[&one, &two], &id, "down").await;
}
