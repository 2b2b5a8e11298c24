//! The operator may die between any two of its writes: nothing changes but time.

use std::{collections::BTreeMap, time::Duration};

use annulus_e2e::{
    kvcluster::{FOUNDING, KvCluster, annulus_api, three_nodes},
    namespace::{TestNamespace, with_namespace},
    operator::{kill_within, seed},
    workload::HttpClient,
};
use anyhow::{Context, Result};
use kube::api::ListParams;
use rand::{SeedableRng, rngs::StdRng};
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
            kill_within(&namespace.client, LONGEST_LIFE, &mut random).await?;
        }
        cluster.await_ready(FOUNDING * 2).await?;
        let founded = picture(&namespace, &cluster).await?;
        assert_eq!(founded.rings.len(), 1, "one ring only: {:?}", founded.rings);
        assert_eq!(founded.pods.len(), 3);
        every_node_serves_one_epoch(&cluster).await?;

        for _ in 0..KILLS_AT_REST {
            kill_within(&namespace.client, LONGEST_LIFE, &mut random).await?;
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
