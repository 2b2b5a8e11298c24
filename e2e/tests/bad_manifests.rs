//! A manifest that cannot work is refused at once, with words that say what to change.

use annulus_e2e::{
    kvcluster::{FOUNDING, KvCluster, annulus_api, three_nodes},
    namespace::{TestNamespace, with_namespace},
};
use anyhow::{Context, Result};
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// HTTP status of a manifest that the API server understood and refused.
const INVALID: u16 = 422;

/// The code and message with which the API server refused something.
fn refusal(outcome: Result<impl Sized>) -> Result<(u16, String)> {
    let error = outcome.err().context("the API server accepted it")?;
    match error
        .downcast::<kube::Error>()
        .context("not an answer of the API server")?
    {
        kube::Error::Api(status) => Ok((status.code, status.message)),
        other => Err(other).context("no answer of the API server"),
    }
}

/// Creates the standard cluster with one part replaced, and checks the refusal.
async fn is_refused(namespace: &TestNamespace, from: &str, to: &str, says: &[&str]) -> Result<()> {
    let manifest = three_nodes("orders");
    assert!(
        manifest.contains(from),
        "the standard manifest has no {from:?}"
    );
    let outcome = KvCluster::create(namespace, &manifest.replace(from, to)).await;
    let (code, message) = refusal(outcome).with_context(|| format!("create with {to:?}"))?;
    assert_eq!(code, INVALID, "{to}: {message}");
    for words in says {
        assert!(
            message.contains(words),
            "{to}: the message should say {words:?}: {message}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster with Annulus installed: e2e/README.md"]
async fn impossible_manifests_are_refused_with_a_reason() -> Result<()> {
    with_namespace("bad-manifests", |namespace| async move {
        let partitions = ["spec.partitions", "power of two"];
        is_refused(&namespace, "partitions: 64", "partitions: 100", &partitions).await?;
        is_refused(
            &namespace,
            "partitions: 64",
            "partitions: 0",
            &["spec.partitions"],
        )
        .await?;
        let replication = ["replicationFactor"];
        is_refused(
            &namespace,
            "replicationFactor: 3",
            "replicationFactor: 5",
            &replication,
        )
        .await?;
        is_refused(
            &namespace,
            "replicationFactor: 3",
            "replicationFactor: 0",
            &replication,
        )
        .await?;
        let long = "o".repeat(80);
        is_refused(
            &namespace,
            "name: orders",
            &format!("name: {long}"),
            &["name"],
        )
        .await?;
        for level in ["4", "\"4\"", "0", "most"] {
            let consistency = format!("partitions: 64\n  consistency: {{write: {level}}}");
            is_refused(
                &namespace,
                "partitions: 64",
                &consistency,
                &["consistency.write"],
            )
            .await?;
        }
        is_refused(&namespace, "size: 1Gi", "size: much", &["size"]).await?;
        is_refused(&namespace, "name: default", "name: Not_A_Name", &["pools"]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster with Annulus installed: e2e/README.md"]
async fn changes_that_cannot_be_made_are_refused_or_reported() -> Result<()> {
    with_namespace("bad-changes", |namespace| async move {
        let cluster = KvCluster::create(&namespace, &three_nodes("orders")).await?;
        cluster.await_ready(FOUNDING).await?;
        let epoch = cluster.ring_epoch().await?;

        let (code, message) = refusal(cluster.patch(json!({"spec": {"partitions": 128}})).await)?;
        assert_eq!(code, INVALID, "{message}");
        assert!(message.contains("immutable"), "{message}");

        let nodes = annulus_api(&namespace, "KVNode");
        let drain = json!({"metadata": {"annotations": {"annulus.dev/drain": "true"}}});
        nodes
            .patch(
                "orders-default-2",
                &PatchParams::default(),
                &Patch::Merge(drain),
            )
            .await?;
        let stalled = cluster.await_condition("Stalled", "True", FOUNDING).await?;
        assert_eq!(stalled.reason, "PlanImpossible", "{stalled:?}");
        assert!(!stalled.message.is_empty(), "{stalled:?}");
        assert_eq!(cluster.ring_epoch().await?, epoch, "the placement stays");
        assert_eq!(cluster.all_endpoints(3).await?.len(), 3, "the nodes stay");
        Ok(())
    })
    .await
}
