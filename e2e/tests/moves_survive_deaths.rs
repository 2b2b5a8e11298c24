//! Who dies in mid-stream, and who changes the plan half-way, loses nothing: moves go on when the
//! pods are back, and end as was last asked for.

use annulus_e2e::{
    conditions::eventually,
    kvcluster::{FOUNDING, KvCluster},
    namespace::{TestNamespace, with_namespace},
    operator::seed,
    recorded::{Load, Told},
    scaling::{SCALING, in_one_zone, is_moving, is_settled, limit_rate, scale, until_or_over},
    workload::{Workload, read_back},
};
use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::DeleteParams};
use serde_json::Value;

const KEYS: usize = 3_000;
const KEYS_PER_SECOND: u32 = 600;
const REQUESTS_PER_SECOND: u64 = 60;
/// So that a move can be met half-way.
const SLOWLY: &str = "4Ki";
const LESS_SLOWLY: &str = "32Ki";
const FAST: &str = "50Mi";
const SOURCE: &str = "orders-default-0";
const TARGET: &str = "orders-default-3";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster with Annulus installed: e2e/README.md"]
async fn deaths_and_changes_of_mind_lose_nothing() -> Result<()> {
    let seed = seed()?;
    with_namespace("moves-survive-deaths", |namespace| async move {
        let cluster = KvCluster::create(&namespace, &in_one_zone("orders")).await?;
        cluster.await_ready(FOUNDING).await?;
        let written = Workload::new(&cluster).await?;
        let written = written.write(KEYS, KEYS_PER_SECOND).await?.acknowledged;
        let load = Load::start(&cluster, REQUESTS_PER_SECOND, seed).await?;

        limit_rate(&cluster, SLOWLY).await?;
        scale(&cluster, 4).await?;
        // In this order: a target that comes back has forgotten its limit until it is told again.
        for victim in [SOURCE, TARGET] {
            is_streaming(&cluster).await?;
            kill_pod(&namespace, &cluster, victim).await?;
            load.all_answer().await?;
        }
        limit_rate(&cluster, FAST).await?;
        is_settled(&cluster, 4).await?;

        changes_its_mind(&cluster, "at once", |_| true).await?;
        changes_its_mind(&cluster, "when data moves", |it| it["phase"] == "Moving").await?;
        changes_its_mind(&cluster, "half-way", is_half_way).await?;
        changes_its_mind(&cluster, "when it leaves", |it| it["phase"] == "Leaving").await?;

        let told = load.stop().await?;
        report(&told)?;
        told.judge()?;
        read_back(&cluster.all_endpoints(4).await?, &written).await
    })
    .await
}

/// Down to three and, at that moment, up to four again.
async fn changes_its_mind(
    cluster: &KvCluster,
    when: &str,
    is_now: impl Fn(&Value) -> bool,
) -> Result<()> {
    limit_rate(cluster, LESS_SLOWLY).await?;
    scale(cluster, 3).await?;
    let leaves = |operation: &Value| operation["type"] == "ScaleIn" && is_now(operation);
    let met = until_or_over(cluster, when, leaves).await?;
    eprintln!(
        "back {when}: {}",
        if met { "met" } else { "too late, it was over" }
    );
    scale(cluster, 4).await?;
    limit_rate(cluster, FAST).await?;
    is_settled(cluster, 4).await.map(drop)
}

fn is_half_way(operation: &Value) -> bool {
    let done = operation["partitionsDone"].as_u64().unwrap_or_default();
    let total = operation["partitionsTotal"].as_u64().unwrap_or_default();
    total > 0 && 2 * done >= total && done < total
}

/// Waits until a joining owner has got some, and not all, of what it is to have.
async fn is_streaming(cluster: &KvCluster) -> Result<()> {
    is_moving(cluster, "ScaleOut").await?;
    eventually("vnodes are copied", SCALING, || async {
        let operation = cluster.status().await?["operation"].clone();
        let waits = operation["waitingFor"].as_str().unwrap_or_default();
        ensure!(waits.contains("STREAM"), "{operation}");
        Ok(())
    })
    .await
}

/// As a machine's end would: without a word.
async fn kill_pod(namespace: &TestNamespace, cluster: &KvCluster, victim: &str) -> Result<()> {
    let pods: Api<Pod> = namespace.api();
    let old = pods.get(victim).await?.metadata.uid;
    let now = DeleteParams::default().grace_period(0);
    pods.delete(victim, &now).await?;
    eventually("the killed pod is back", SCALING, || async {
        let found = pods.get_opt(victim).await?;
        let new = found.and_then(|pod| pod.metadata.uid);
        ensure!(new.is_some() && new != old, "it is not there");
        let serves = cluster.endpoints().await?;
        ensure!(serves.iter().any(|it| it.pod == victim), "{serves:?}");
        Ok(())
    })
    .await
}

fn report(told: &Told) -> Result<()> {
    let (refused, attempts) = (told.refused(), told.attempts);
    eprintln!("refusals of {attempts} attempts: {:?}", told.refusals);
    ensure!(told.not_retryable.is_empty(), "{:?}", told.not_retryable);
    ensure!(
        refused * 1_000 <= attempts,
        "{refused} of {attempts}: {:?}",
        told.refusals
    );
    Ok(())
}
