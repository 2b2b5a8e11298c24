//! A node loses its disk for good: its copies are made anew without help.

use std::time::Duration;

use annulus_e2e::{
    conditions::eventually,
    kvcluster::{FOUNDING, KvCluster, annulus_api, three_nodes},
    namespace::with_namespace,
    workload::{Workload, read_back},
};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Api, api::DeleteParams};
use serde_json::json;
use tokio::time::Instant;

const KEYS: usize = 2_000;
const KEYS_PER_SECOND: u32 = 400;
const REPLACING: Duration = Duration::from_secs(600);
const VICTIM: &str = "orders-default-1";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster with Annulus installed: e2e/README.md"]
async fn a_lost_disk_is_replaced_without_help() -> Result<()> {
    with_namespace("replaces-a-lost-disk", |namespace| async move {
        let cluster = KvCluster::create(&namespace, &three_nodes("orders")).await?;
        cluster
            .patch(json!({"spec": {"replaceAfter": "10s"}}))
            .await?;
        cluster.await_ready(FOUNDING).await?;
        let workload = Workload::new(&cluster).await?;
        let account = workload.write(KEYS, KEYS_PER_SECOND).await?;
        let nodes = annulus_api(&namespace, "KVNode");
        let lost = nodes.get(VICTIM).await?.data["spec"]["nodeId"].clone();
        ensure!(lost.is_string(), "{VICTIM} has no identity");

        let claims: Api<PersistentVolumeClaim> = namespace.api();
        let pods: Api<Pod> = namespace.api();
        claims.delete(VICTIM, &DeleteParams::default()).await?;
        pods.delete(VICTIM, &DeleteParams::default()).await?;
        let since = Instant::now();

        eventually("the lost node is out of the ring", REPLACING, || async {
            let ring = annulus_api(&namespace, "KVRing")
                .get(cluster.name())
                .await?;
            let members = ring.data["spec"]["nodes"].as_array().context("no nodes")?;
            ensure!(members.len() == 3, "{members:?}");
            ensure!(members.iter().all(|node| node["id"] != lost), "{members:?}");
            Ok(())
        })
        .await?;
        cluster.await_ready(REPLACING).await?;
        cluster
            .await_condition("FullyReplicated", "True", REPLACING)
            .await?;
        let node = nodes.get(VICTIM).await?;
        let gigabytes = node.data["status"]["dataBytes"]
            .as_f64()
            .unwrap_or_default()
            / 1e9;
        let seconds = since.elapsed().as_secs_f64();
        eprintln!("replaced after {seconds:.0} s, with {gigabytes:.2} GB to copy");
        read_back(&cluster.all_endpoints(3).await?, &account.acknowledged).await
    })
    .await
}
