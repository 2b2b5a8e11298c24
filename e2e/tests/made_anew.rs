//! A cluster that is deleted and made anew at once takes up the disks that were kept, and its ring
//! with them. While it lives, evictions take one node at a time.

use std::time::Duration;

use annulus_e2e::{
    conditions::eventually,
    kvcluster::{FOUNDING, KvCluster, annulus_api, three_nodes},
    namespace::{TestNamespace, with_namespace},
    workload::{Workload, read_back},
};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    core::v1::{Pod, Secret},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api,
    api::{DeleteParams, EvictParams},
};

const KEYS: usize = 200;
const KEYS_PER_SECOND: u32 = 200;
const NOTICE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster with Annulus installed: e2e/README.md"]
async fn a_cluster_made_anew_has_the_keys_of_the_old_one() -> Result<()> {
    with_namespace("made-anew", |namespace| async move {
        let cluster = KvCluster::create(&namespace, &three_nodes("orders")).await?;
        cluster.await_ready(FOUNDING).await?;
        let writer = Workload::new(&cluster).await?;
        let account = writer.write(KEYS, KEYS_PER_SECOND).await?;
        assert_eq!(account.acknowledged.len(), KEYS);
        let before = (ring_id(&namespace).await?, key_id(&namespace).await?);

        let clusters = annulus_api(&namespace, "KVCluster");
        clusters
            .delete("orders", &DeleteParams::background())
            .await?;
        let cluster = KvCluster::create(&namespace, &three_nodes("orders")).await?;
        cluster.await_ready(FOUNDING).await?;

        let after = (ring_id(&namespace).await?, key_id(&namespace).await?);
        assert_eq!(after, before, "the ring and the context key");
        let nodes = cluster.all_endpoints(3).await?;
        // All nodes have just started: they may still be on their way to each other.
        eventually("all keys are readable", NOTICE, || async {
            read_back(&nodes, &account.acknowledged).await
        })
        .await?;
        one_node_at_a_time(&namespace, &cluster).await
    })
    .await
}

async fn one_node_at_a_time(namespace: &TestNamespace, cluster: &KvCluster) -> Result<()> {
    let (pods, budgets): (Api<Pod>, Api<PodDisruptionBudget>) = (namespace.api(), namespace.api());
    let allowed = async || -> Result<i32> {
        let status = budgets.get("orders").await?.status;
        let status = status.context("the budget has no status yet")?;
        Ok(status.disruptions_allowed)
    };
    eventually("Kubernetes lets a node go", NOTICE, || async {
        ensure!(allowed().await? == 1, "nothing may go");
        Ok(())
    })
    .await?;
    let nodes = cluster.all_endpoints(3).await?;
    let evicted = pods.evict(&nodes[0].pod, &EvictParams::default()).await;
    evicted.context("evict a node")?;
    // The client would try a refused eviction again until it succeeds: so the budget is asked.
    ensure!(allowed().await? == 0, "a second node may go, too");
    cluster.await_ready(FOUNDING).await
}

/// Identity of the ring.
async fn ring_id(namespace: &TestNamespace) -> Result<String> {
    let ring = annulus_api(namespace, "KVRing").get("orders").await?;
    let id = ring.data["spec"]["clusterId"].as_str();
    id.map(str::to_owned).context("the KVRing has no clusterId")
}

/// Identity of the Secret with the context key.
async fn key_id(namespace: &TestNamespace) -> Result<Option<String>> {
    let secrets: Api<Secret> = namespace.api();
    Ok(secrets.get("orders-context-key").await?.metadata.uid)
}
