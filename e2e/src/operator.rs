//! The operator's pods, and their end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use rand::{Rng, rngs::StdRng};

use crate::{conditions::eventually, installation::OPERATOR_NAMESPACE, kvcluster::is_ready};

/// A killed operator has a successor within this time.
const RECOVERY: Duration = Duration::from_secs(120);

/// Printed, so that a run can be repeated: `ANNULUS_E2E_SEED`.
pub fn seed() -> Result<u64> {
    let seed = match std::env::var("ANNULUS_E2E_SEED") {
        Ok(text) => text.parse().context("ANNULUS_E2E_SEED is a number")?,
        Err(_) => uuid::Uuid::new_v4().as_u64_pair().0,
    };
    eprintln!("repeat with ANNULUS_E2E_SEED={seed}");
    Ok(seed)
}

/// Lets the operator live for a random time, kills it without warning, and waits for the next.
pub async fn kill_within(client: &Client, longest: Duration, random: &mut StdRng) -> Result<()> {
    let life = longest.mul_f64(random.random());
    tokio::time::sleep(life).await; // paced: the moment of the kill is the experiment
    let api: Api<Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let old: Vec<_> = pods(&api)
        .await?
        .iter()
        .filter_map(|pod| pod.metadata.uid.clone())
        .collect();
    for pod in pods(&api).await? {
        let name = pod.metadata.name.context("a pod has no name")?;
        let now = DeleteParams::default().grace_period(0);
        api.delete(&name, &now).await?;
    }
    eventually("another operator is ready", RECOVERY, || async {
        let pods = pods(&api).await?;
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

async fn pods(api: &Api<Pod>) -> Result<Vec<Pod>> {
    Ok(api
        .list(&ListParams::default())
        .await
        .context("list the operator's pods")?
        .items)
}
