//! A whole zone goes and comes back: nothing is moved or deleted, service goes on, and all is as
//! before when the zone is back.

use std::{collections::BTreeMap, time::Duration};

use annulus_e2e::{
    cluster::Lab,
    conditions::await_object,
    kvcluster::{FOUNDING, KvCluster, three_nodes},
    namespace::{TestNamespace, with_namespace},
    operator::seed,
    recorded::Load,
    ring::Owners,
    scaling::is_settled,
};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use kube::{Api, api::ListParams};
use serde_json::json;

/// The control plane notices after 20 s in the lab, after 50 s in kind.
const NOTICE: Duration = Duration::from_secs(120);
/// Twice `replaceAfter`: whoever is given up is given up by then.
const AWAY: Duration = Duration::from_secs(20);
const REQUESTS_PER_SECOND: u64 = 60;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster with Annulus installed: e2e/README.md"]
async fn a_zone_may_go_and_come_back() -> Result<()> {
    let seed = seed()?;
    with_namespace("survives-a-zone", |namespace| async move {
        // Of four nodes in three zones one zone has two.
        let manifest = three_nodes("orders").replace("nodes: 3", "nodes: 4");
        let cluster = KvCluster::create(&namespace, &manifest).await?;
        cluster
            .patch(json!({"spec": {"replaceAfter": "10s"}}))
            .await?;
        cluster.await_ready(FOUNDING).await?;
        let (owners, claims) = (Owners::read(&cluster).await?, claims(&namespace).await?);
        let machine = crowded_machine(&cluster).await?;
        let load = Load::start(&cluster, REQUESTS_PER_SECOND, seed).await?;

        let lab = Lab::detect()?;
        lab.kill_node(&machine)?;
        let outcome =
            is_left_alone(&namespace, &cluster, &machine, (&owners, &claims), &load).await;
        lab.start_node(&machine)?;
        outcome?;

        assert_eq!(is_settled(&cluster, 4).await?, owners);
        assert_eq!(self::claims(&namespace).await?, claims);
        let told = load.stop().await?;
        eprintln!(
            "refusals of {} attempts: {:?}",
            told.attempts, told.refusals
        );
        ensure!(told.not_retryable.is_empty(), "{:?}", told.not_retryable);
        told.judge()
    })
    .await
}

async fn is_left_alone(
    namespace: &TestNamespace,
    cluster: &KvCluster,
    machine: &str,
    (owners, claims): (&Owners, &BTreeMap<String, String>),
    load: &Load,
) -> Result<()> {
    let machines: Api<Node> = Api::all(namespace.client.clone());
    await_object(&machines, machine, "the machine is lost", NOTICE, is_lost).await?;
    cluster.await_condition("Degraded", "True", NOTICE).await?;
    load.go_on(AWAY).await;
    let available = cluster.condition("Available").await?;
    let available = available.context("no such condition")?;
    ensure!(available.status == "True", "{available:?}");
    assert_eq!(&Owners::read(cluster).await?, owners, "nothing moves");
    assert_eq!(
        &self::claims(namespace).await?,
        claims,
        "nothing is deleted"
    );
    Ok(())
}

/// Uids of the claims by name.
async fn claims(namespace: &TestNamespace) -> Result<BTreeMap<String, String>> {
    let api: Api<PersistentVolumeClaim> = namespace.api();
    let claims = api.list(&ListParams::default()).await?.items;
    let claim = |it: PersistentVolumeClaim| Some((it.metadata.name?, it.metadata.uid?));
    Ok(claims.into_iter().filter_map(claim).collect())
}

/// The machine, and so the zone, with most of the nodes.
async fn crowded_machine(cluster: &KvCluster) -> Result<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for pod in cluster.pods().await? {
        let machine = pod.spec.and_then(|spec| spec.node_name);
        *counts
            .entry(machine.context("a pod has no machine")?)
            .or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map(|(machine, _)| machine)
        .context("there are no pods")
}

fn is_lost(node: Option<&Node>) -> bool {
    let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    !conditions.any(|found| found.type_ == "Ready" && found.status == "True")
}
