//! Deleting a pod is ordinary life: writers at quorum see at most errors that say "try again", and
//! nothing that was acknowledged is lost.

use std::time::Duration;

use annulus_e2e::{
    conditions::eventually,
    kvcluster::{FOUNDING, KvCluster, three_nodes},
    namespace::{TestNamespace, with_namespace},
    workload::{Workload, read_back},
};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::DeleteParams};
use tokio::time::{MissedTickBehavior, interval};

const KEYS: usize = 10_000;
/// So that the writes last longer than the three deletions.
const KEYS_PER_SECOND: u32 = 140;
const BETWEEN_DELETIONS: Duration = Duration::from_secs(20);
const RECOVERY: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster with Annulus installed: e2e/README.md"]
async fn acknowledged_writes_survive_the_deletion_of_pods() -> Result<()> {
    with_namespace("survives-pod-deletion", |namespace| async move {
        let cluster = KvCluster::create(&namespace, &three_nodes("orders")).await?;
        cluster.await_ready(FOUNDING).await?;

        let workload = Workload::new(&cluster).await?;
        let writing = tokio::spawn(workload.write(KEYS, KEYS_PER_SECOND));
        delete_pods_in_turn(&namespace, &cluster).await?;
        let account = writing.await.context("the workload panicked")??;
        eprintln!(
            "{} acknowledged, refusals {:?}",
            account.acknowledged.len(),
            account.refusals
        );

        assert!(
            account.given_up.is_empty(),
            "never acknowledged: {:?}",
            account.given_up
        );
        assert_eq!(account.acknowledged.len(), KEYS);
        assert!(
            account.not_retryable.is_empty(),
            "not retryable: {:?}",
            account.not_retryable
        );

        cluster.await_ready(RECOVERY).await?;
        read_back(&cluster.all_endpoints(3).await?, &account.acknowledged).await
    })
    .await
}

/// Each deletion waits for the node before it, because two at once take the quorum away.
async fn delete_pods_in_turn(namespace: &TestNamespace, cluster: &KvCluster) -> Result<()> {
    let pods: Api<Pod> = namespace.api();
    let mut schedule = interval(BETWEEN_DELETIONS);
    schedule.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for victim in cluster.all_endpoints(3).await? {
        schedule.tick().await;
        let old = pods.get(&victim.pod).await?.metadata.uid;
        pods.delete(&victim.pod, &DeleteParams::default()).await?;
        eventually("the deleted pod is back and ready", RECOVERY, || async {
            let new = pods.get(&victim.pod).await?;
            ensure!(
                new.metadata.uid != old,
                "{} is still the old pod",
                victim.pod
            );
            cluster.all_endpoints(3).await.map(drop)
        })
        .await?;
    }
    Ok(())
}
