//! The operator may die between any two of its writes: nothing changes but time.

use std::{collections::BTreeMap, time::Duration};

use annulus_e2e::{
    conditions::eventually,
    installation::OPERATOR_NAMESPACE,
    kvcluster::{FOUNDING, KvCluster, annulus_api, is_ready, three_nodes},
    namespace::{TestNamespace, with_namespace},
    workload::HttpClient,
};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

const KILLS_WHILE_FOUNDING: u32 = 6;
const KILLS_AT_REST: u32 = 5;
const LONGEST_LIFE: Duration = Duration::from_millis(2500);
const RECOVERY: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster with Annulus installed: e2e/README.md"]
async fn killing_the_operator_changes_nothing() -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed()?);
    with_namespace("operator-killed", |namespace| async move {
        let cluster = KvCluster::create(&namespace, &three_nodes("orders")).await?;
        for _ in 0..KILLS_WHILE_FOUNDING {
            kill_operator_within(&namespace.client, LONGEST_LIFE, &mut random).await?;
        }
        cluster.await_ready(FOUNDING * 2).await?;
        let founded = picture(&namespace, &cluster).await?;
        assert_eq!(founded.rings.len(), 1, "one ring only: {:?}", founded.rings);
        assert_eq!(founded.pods.len(), 3);
        every_node_serves_one_epoch(&cluster).await?;

        for _ in 0..KILLS_AT_REST {
            kill_operator_within(&namespace.client, LONGEST_LIFE, &mut random).await?;
        }
        // A change makes the new operator go through the whole cluster once more.
        let rate = json!({"spec": {"rebalance": {"maxBytesPerSecond": "40Mi"}}});
        cluster.patch(rate).await?;
        cluster.await_ready(RECOVERY).await?;
        assert_eq!(picture(&namespace, &cluster).await?, founded);
        every_node_serves_one_epoch(&cluster).await
    })
    .await
}

/// Printed, so that a run can be repeated: `ANNULUS_E2E_SEED`.
fn seed() -> Result<u64> {
    let seed = match std::env::var("ANNULUS_E2E_SEED") {
        Ok(text) => text.parse().context("ANNULUS_E2E_SEED is a number")?,
        Err(_) => uuid::Uuid::new_v4().as_u64_pair().0,
    };
    eprintln!("repeat with ANNULUS_E2E_SEED={seed}");
    Ok(seed)
}

/// What must not change: each pod's identity and restarts, the rings and their contents, the epoch.
#[derive(Debug, PartialEq)]
struct Picture {
    pods: BTreeMap<String, (String, i32)>,
    rings: BTreeMap<String, Value>,
    epoch: u64,
}

async fn picture(namespace: &TestNamespace, cluster: &KvCluster) -> Result<Picture> {
    let mut pods = BTreeMap::new();
    for pod in cluster.pods().await? {
        let containers = pod.status.and_then(|status| status.container_statuses);
        let restarts = containers
            .iter()
            .flatten()
            .map(|container| container.restart_count)
            .sum();
        let name = pod.metadata.name.context("a pod has no name")?;
        pods.insert(
            name,
            (pod.metadata.uid.context("a pod has no uid")?, restarts),
        );
    }
    let mut rings = BTreeMap::new();
    for ring in annulus_api(namespace, "KVRing")
        .list(&ListParams::default())
        .await?
    {
        let name = ring.metadata.name.context("a ring has no name")?;
        rings.insert(name, ring.data["spec"].clone());
    }
    Ok(Picture {
        pods,
        rings,
        epoch: cluster.ring_epoch().await?,
    })
}

async fn every_node_serves_one_epoch(cluster: &KvCluster) -> Result<()> {
    let http = HttpClient::new()?;
    let epoch = cluster.ring_epoch().await?;
    for node in cluster.all_endpoints(3).await? {
        assert_eq!(http.epoch(&node).await?, epoch, "{}", node.pod);
    }
    Ok(())
}

/// Lets the operator live for a random time, kills it without warning, and waits for the next.
async fn kill_operator_within(
    client: &Client,
    longest: Duration,
    random: &mut StdRng,
) -> Result<()> {
    let life = longest.mul_f64(random.random());
    tokio::time::sleep(life).await; // paced: the moment of the kill is the experiment
    let api: Api<Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let old: Vec<_> = operator_pods(&api)
        .await?
        .iter()
        .filter_map(|pod| pod.metadata.uid.clone())
        .collect();
    for pod in operator_pods(&api).await? {
        let name = pod.metadata.name.context("a pod has no name")?;
        api.delete(&name, &DeleteParams::default().grace_period(0))
            .await?;
    }
    eventually("another operator is ready", RECOVERY, || async {
        let pods = operator_pods(&api).await?;
        let is_new = |pod: &Pod| {
            pod.metadata
                .uid
                .as_ref()
                .is_some_and(|uid| !old.contains(uid))
        };
        ensure!(
            pods.iter().any(|pod| is_new(pod) && is_ready(pod)),
            "no new operator is ready"
        );
        Ok(())
    })
    .await
}

async fn operator_pods(api: &Api<Pod>) -> Result<Vec<Pod>> {
    Ok(api
        .list(&ListParams::default())
        .await
        .context("list the operator's pods")?
        .items)
}
