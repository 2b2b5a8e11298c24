//! A node loses its disk for good: its copies are made anew without help.

use std::time::Duration;

use annulus_e2e::{
    conditions::eventually,
    kvcluster::{FOUNDING, KvCluster, annulus_api, three_nodes},
    namespace::with_namespace,
    operator::seed,
    recorded::Load,
    scaling::is_settled,
    workload::{Attempt, HttpClient},
};
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use tokio::time::Instant;

const KEYS: usize = 800;
const VALUE_BYTES: usize = 100_000;
const AT_ONCE: usize = 8;
const REQUESTS_PER_SECOND: u64 = 60;
const REPLACING: Duration = Duration::from_secs(600);
const VICTIM: &str = "orders-default-1";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster with Annulus installed: e2e/README.md"]
async fn a_lost_disk_is_replaced_without_help() -> Result<()> {
    let seed = seed()?;
    with_namespace("replaces-a-lost-disk", |namespace| async move {
        let cluster = KvCluster::create(&namespace, &three_nodes("orders")).await?;
        cluster
            .patch(json!({"spec": {"replaceAfter": "10s"}}))
            .await?;
        cluster.await_ready(FOUNDING).await?;
        write_large_values(&cluster).await?;
        let load = Load::start(&cluster, REQUESTS_PER_SECOND, seed).await?;
        let nodes = annulus_api(&namespace, "KVNode");
        let lost = nodes.get(VICTIM).await?.data["spec"]["nodeId"].clone();
        ensure!(lost.is_string(), "{VICTIM} has no identity");

        let claims: Api<PersistentVolumeClaim> = namespace.api();
        let pods: Api<Pod> = namespace.api();
        claims.delete(VICTIM, &DeleteParams::default()).await?;
        pods.delete(VICTIM, &DeleteParams::default()).await?;
        let lost_at = Instant::now();
        let copies_at = eventually("its copies are made anew", REPLACING, || async {
            let operation = cluster.status().await?["operation"].clone();
            ensure!(operation["type"] == "Replace", "{operation}");
            ensure!(operation["phase"] == "Moving", "{operation}");
            Ok(Instant::now())
        })
        .await?;
        eventually("the lost node is out of the ring", REPLACING, || async {
            let rings = annulus_api(&namespace, "KVRing");
            let ring = rings.get(cluster.name()).await?;
            let members = ring.data["spec"]["nodes"].as_array().context("no nodes")?;
            ensure!(members.len() == 3, "{members:?}");
            ensure!(members.iter().all(|node| node["id"] != lost), "{members:?}");
            Ok(())
        })
        .await?;
        is_settled(&cluster, 3).await?;
        let gigabytes = (KEYS * VALUE_BYTES) as f64 / 1e9;
        let copied = copies_at.elapsed().as_secs_f64();
        eprintln!(
            "whole again {:.0} s after the loss; {gigabytes:.3} GB were copied in {copied:.1} s: {:.0} s per GB",
            lost_at.elapsed().as_secs_f64(),
            copied / gigabytes
        );
        let told = load.stop().await?;
        ensure!(told.not_retryable.is_empty(), "{:?}", told.not_retryable);
        told.judge()?;
        read_large_values(&cluster).await
    })
    .await
}

fn large(number: usize) -> (String, Value) {
    let letter = char::from(b'a' + u8::try_from(number % 26).expect("below 26"));
    let value = letter.to_string().repeat(VALUE_BYTES);
    (format!("large-{number}"), json!(value))
}

async fn write_large_values(cluster: &KvCluster) -> Result<()> {
    let (http, nodes) = (&HttpClient::new()?, &cluster.all_endpoints(3).await?);
    let writes = stream::iter(0..KEYS).map(|number| async move {
        let (key, value) = large(number);
        let written = http.put(&nodes[number % nodes.len()], &key, &value).await;
        ensure!(written == Attempt::Acknowledged, "{key}: {written:?}");
        Ok(())
    });
    writes.buffer_unordered(AT_ONCE).try_collect().await
}

/// Through the replaced node alone too: then its own copy counts.
async fn read_large_values(cluster: &KvCluster) -> Result<()> {
    let (http, nodes) = (&HttpClient::new()?, &cluster.all_endpoints(3).await?);
    let reads = stream::iter(0..KEYS).map(|number| async move {
        let (key, value) = large(number);
        let read = http.get(&nodes[number % nodes.len()], &key).await?;
        ensure!(read.as_ref() == Some(&value), "{key} is lost");
        Ok(())
    });
    reads.buffer_unordered(AT_ONCE).try_collect().await
}
