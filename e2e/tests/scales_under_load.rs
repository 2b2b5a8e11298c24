//! Three nodes become five and then four while keys are written through all of them, and operator
//! and pods die meanwhile: no acknowledged write is lost, and clients notice next to nothing.

use std::time::Duration;

use annulus_e2e::{
    conditions::eventually,
    installation::OPERATOR_NAMESPACE,
    kvcluster::{FOUNDING, KvCluster, annulus_api, three_nodes},
    namespace::{TestNamespace, with_namespace},
    workload::{Workload, read_back},
};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};

const KEYS: usize = 20_000;
const KEYS_PER_SECOND: u32 = 100;
const SCALING: Duration = Duration::from_secs(600);
/// Of all attempts, in parts of a thousand.
const MOST_REFUSALS: usize = 1;
const PARTITIONS: usize = 64;
const COPIES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster with Annulus installed: e2e/README.md"]
async fn no_write_is_lost_while_nodes_join_and_leave() -> Result<()> {
    with_namespace("scales-under-load", |namespace| async move {
        let cluster = KvCluster::create(&namespace, &three_nodes("orders")).await?;
        cluster.await_ready(FOUNDING).await?;
        let workload = Workload::new(&cluster).await?;
        let writer = tokio::spawn(workload.write(KEYS, KEYS_PER_SECOND));

        scale(&cluster, 5).await?;
        is_moving(&cluster, "ScaleOut").await?;
        kill_operator(&namespace).await?;
        is_settled(&namespace, &cluster, 5).await?;

        scale(&cluster, 4).await?;
        is_moving(&cluster, "ScaleIn").await?;
        kill_operator(&namespace).await?;
        is_settled(&namespace, &cluster, 4).await?;
        let pods: Api<Pod> = namespace.api();
        eventually("the leaver's pod is gone", SCALING, || async {
            ensure!(
                pods.get_opt("orders-default-4").await?.is_none(),
                "it is there"
            );
            Ok(())
        })
        .await?;

        let account = writer.await.context("the writer panicked")??;
        assert_eq!(account.given_up, [], "every key is written in the end");
        assert!(
            account.not_retryable.is_empty(),
            "{:?}",
            account.not_retryable
        );
        let refused: usize = account.refusals.values().sum();
        let attempts = account.acknowledged.len() + refused;
        assert!(
            refused * 1_000 <= attempts * MOST_REFUSALS,
            "{refused} of {attempts} attempts: {:?}",
            account.refusals
        );
        read_back(&cluster.all_endpoints(4).await?, &account.acknowledged).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster with Annulus installed: e2e/README.md"]
async fn source_and_target_may_die_in_mid_stream() -> Result<()> {
    with_namespace("scales-and-dies", |namespace| async move {
        let cluster = KvCluster::create(&namespace, &three_nodes("orders")).await?;
        cluster.await_ready(FOUNDING).await?;
        let before = Workload::new(&cluster).await?;
        let account = before.write(KEYS / 10, KEYS_PER_SECOND * 4).await?;

        scale(&cluster, 4).await?;
        is_moving(&cluster, "ScaleOut").await?;
        let pods: Api<Pod> = namespace.api();
        for victim in ["orders-default-0", "orders-default-3"] {
            let now = DeleteParams::default().grace_period(0);
            pods.delete(victim, &now).await?;
        }
        is_settled(&namespace, &cluster, 4).await?;
        read_back(&cluster.all_endpoints(4).await?, &account.acknowledged).await
    })
    .await
}

async fn scale(cluster: &KvCluster, nodes: usize) -> Result<()> {
    cluster.patch(json!({"spec": {"nodes": nodes}})).await
}

/// Waits until data moves.
async fn is_moving(cluster: &KvCluster, kind: &str) -> Result<()> {
    eventually("data moves", SCALING, || async {
        let operation = cluster.status().await?["operation"].clone();
        ensure!(operation["type"] == kind, "{operation}");
        ensure!(operation["phase"] == "Moving", "{operation}");
        ensure!(!operation["plan"]["id"].is_null(), "{operation}");
        Ok(())
    })
    .await
}

/// Waits until the ring has these nodes, each with data, and nothing moves.
async fn is_settled(namespace: &TestNamespace, cluster: &KvCluster, nodes: usize) -> Result<()> {
    cluster.await_ready(SCALING).await?;
    eventually("the operation is over", SCALING, || async {
        let status = cluster.status().await?;
        ensure!(status["operation"].is_null(), "{}", status["operation"]);
        ensure!(status["readyNodes"] == nodes, "{status}");
        Ok(())
    })
    .await?;
    let ring = annulus_api(namespace, "KVRing").get(cluster.name()).await?;
    let spec = &ring.data["spec"];
    assert_eq!(
        spec["nodes"].as_array().map(Vec::len),
        Some(nodes),
        "{spec}"
    );
    assert!(spec["moves"].as_array().is_none_or(Vec::is_empty), "{spec}");
    // How many each has depends on the zones that the machines are in.
    let vnodes = vnodes(spec, nodes)?;
    assert_eq!(
        vnodes.iter().sum::<usize>(),
        PARTITIONS * COPIES,
        "{vnodes:?}"
    );
    assert!(vnodes.iter().all(|count| *count > 0), "{vnodes:?}");
    Ok(())
}

/// Partitions that each node owns.
fn vnodes(spec: &Value, nodes: usize) -> Result<Vec<usize>> {
    let owners = spec["owners"].as_str().context("the ring has no owners")?;
    let mut counts = vec![0; nodes];
    for owner in owners.split([' ', ',']) {
        let owner: usize = owner.parse().context("an owner is a number")?;
        *counts.get_mut(owner).context("an owner is no node")? += 1;
    }
    Ok(counts)
}

async fn kill_operator(namespace: &TestNamespace) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(namespace.client.clone(), OPERATOR_NAMESPACE);
    for pod in pods.list(&ListParams::default()).await? {
        let name = pod.metadata.name.context("a pod has no name")?;
        let now = DeleteParams::default().grace_period(0);
        pods.delete(&name, &now).await?;
    }
    Ok(())
}
