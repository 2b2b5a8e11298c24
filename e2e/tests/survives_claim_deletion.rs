//! A node loses its disk for good: the data stays readable from the others, and the cluster says
//! what is wrong with it.

use std::time::Duration;

use annulus_e2e::{
    conditions::{await_object, eventually},
    kvcluster::{FOUNDING, KvCluster, three_nodes},
    namespace::{TestNamespace, with_namespace},
    workload::{Workload, read_back},
};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Api, api::DeleteParams};

const KEYS: usize = 500;
const KEYS_PER_SECOND: u32 = 200;
const NOTICE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster with Annulus installed: e2e/README.md"]
async fn data_stays_readable_when_a_node_loses_its_disk() -> Result<()> {
    with_namespace("survives-claim-deletion", |namespace| async move {
        let cluster = KvCluster::create(&namespace, &three_nodes("orders")).await?;
        cluster.await_ready(FOUNDING).await?;
        let account = Workload::new(&cluster)
            .await?
            .write(KEYS, KEYS_PER_SECOND)
            .await?;
        assert_eq!(account.acknowledged.len(), KEYS);
        let epoch = cluster.ring_epoch().await?;

        let nodes = cluster.all_endpoints(3).await?;
        let (victim, survivors) = nodes.split_first().context("there are no nodes")?;
        delete_disk(&namespace, &victim.pod).await?;

        cluster.await_condition("Degraded", "True", NOTICE).await?;
        eventually("the status names the lost disk", NOTICE, || async {
            let degraded = cluster
                .condition("Degraded")
                .await?
                .context("no such condition")?;
            ensure!(degraded.reason == "NodeReplaced", "{degraded:?}");
            ensure!(!degraded.message.is_empty(), "{degraded:?}");
            Ok(())
        })
        .await?;
        eventually(
            "all keys are readable through the survivors",
            NOTICE,
            || async { read_back(survivors, &account.acknowledged).await },
        )
        .await?;
        assert!(
            cluster.ring_epoch().await? >= epoch,
            "no second ring is founded"
        );
        Ok(())
    })
    .await
}

/// The claim first: it stays while the pod uses it, and is gone as soon as the pod is.
async fn delete_disk(namespace: &TestNamespace, pod: &str) -> Result<()> {
    let pods: Api<Pod> = namespace.api();
    let claims: Api<PersistentVolumeClaim> = namespace.api();
    let claim = claim_of(&pods.get(pod).await?).context("the pod has no claim")?;
    let old = claims.get(&claim).await?.metadata.uid;
    ensure!(old.is_some(), "the claim has no uid");
    claims.delete(&claim, &DeleteParams::default()).await?;
    pods.delete(pod, &DeleteParams::default()).await?;
    let replaced =
        |found: Option<&PersistentVolumeClaim>| found.is_none_or(|found| found.metadata.uid != old);
    await_object(&claims, &claim, "the old claim is gone", NOTICE, replaced).await?;
    Ok(())
}

fn claim_of(pod: &Pod) -> Option<String> {
    let volumes = pod.spec.as_ref()?.volumes.as_ref()?;
    volumes
        .iter()
        .find_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone()))
}
