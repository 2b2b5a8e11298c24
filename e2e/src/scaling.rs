//! A cluster that is asked to change, and how far it is.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    conditions::eventually,
    kvcluster::{KvCluster, three_nodes},
    ring::Owners,
};

/// How long a change of the ring may take on a slow machine.
pub const SCALING: Duration = Duration::from_secs(300);

/// Three nodes in one zone: each is to hold the same, however many there are.
pub fn in_one_zone(name: &str) -> String {
    three_nodes(name).replace("nodes: 3", "nodes: 3\n    zones: [z1]")
}

/// Asks for so many nodes.
pub async fn scale(cluster: &KvCluster, nodes: usize) -> Result<()> {
    cluster.patch(json!({"spec": {"nodes": nodes}})).await
}

/// Limits how fast copies are made.
pub async fn limit_rate(cluster: &KvCluster, bytes_per_second: &str) -> Result<()> {
    let rebalance = json!({"maxBytesPerSecond": bytes_per_second});
    cluster
        .patch(json!({"spec": {"rebalance": rebalance}}))
        .await
}

/// Waits until the operation in progress is as wanted, or over; says which.
pub async fn until_or_over(
    cluster: &KvCluster,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<bool> {
    let before = cluster.ring_epoch().await?;
    eventually(what, SCALING, || async {
        let status = cluster.status().await?;
        let operation = &status["operation"];
        let over = operation.is_null() && status["ringEpoch"].as_u64() > Some(before);
        ensure!(over || wanted(operation), "{operation}");
        Ok(!over)
    })
    .await
}

/// Waits until data moves.
pub async fn is_moving(cluster: &KvCluster, kind: &str) -> Result<()> {
    eventually("data moves", SCALING, || async {
        let operation = cluster.status().await?["operation"].clone();
        ensure!(operation["type"] == kind, "{operation}");
        ensure!(operation["phase"] == "Moving", "{operation}");
        ensure!(!operation["plan"]["id"].is_null(), "{operation}");
        Ok(())
    })
    .await
}

/// Waits until the cluster has these nodes and nothing moves; tells who owns what.
pub async fn is_settled(cluster: &KvCluster, nodes: usize) -> Result<Owners> {
    cluster.await_ready(SCALING).await?;
    let owners = eventually("the operation is over", SCALING, || async {
        let status = cluster.status().await?;
        ensure!(status["operation"].is_null(), "{}", status["operation"]);
        ensure!(status["readyNodes"] == nodes, "{status}");
        let owners = Owners::read(cluster).await?;
        let wanted = (0..nodes).map(|node| format!("{}-default-{node}", cluster.name()));
        ensure!(owners.members == wanted.collect(), "{:?}", owners.members);
        Ok(owners)
    })
    .await?;
    ensure!(
        owners.of.iter().all(|owners| owners.len() == 3),
        "a partition lacks a copy: {owners:?}"
    );
    cluster
        .await_condition("FullyReplicated", "True", SCALING)
        .await?;
    Ok(owners)
}
