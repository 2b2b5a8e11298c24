//! The cluster that the other scenarios trust: losing a Kubernetes node is real there, and so is
//! its return. Needs no Annulus in it.

use std::time::Duration;

use annulus_e2e::{cluster::Lab, conditions::await_object};
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, api::ListParams};

/// The control plane notices after 20 s in the lab, after 50 s in kind.
const NOTICE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: e2e/README.md"]
async fn a_node_can_be_killed_or_cut_off_and_comes_back() -> Result<()> {
    let lab = Lab::detect()?;
    let nodes: Api<Node> = Api::all(Client::try_default().await.context("find the cluster")?);
    let name = last_node(&nodes).await?;

    lab.kill_node(&name)?;
    await_object(
        &nodes,
        &name,
        "the killed node is not ready",
        NOTICE,
        is_lost,
    )
    .await?;
    lab.start_node(&name)?;
    await_object(&nodes, &name, "the started node is ready", NOTICE, is_ready).await?;

    lab.partition(&name)?;
    await_object(
        &nodes,
        &name,
        "the node that was cut off is not ready",
        NOTICE,
        is_lost,
    )
    .await?;
    lab.heal(&name)?;
    await_object(&nodes, &name, "the healed node is ready", NOTICE, is_ready).await?;
    Ok(())
}

/// Never the control plane's node, where there is one: its name sorts first.
async fn last_node(nodes: &Api<Node>) -> Result<String> {
    let list = nodes
        .list(&ListParams::default())
        .await
        .context("list the nodes")?;
    list.items
        .into_iter()
        .filter_map(|node| node.metadata.name)
        .max()
        .context("there are no nodes")
}

fn is_ready(node: Option<&Node>) -> bool {
    let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|found| found.type_ == "Ready" && found.status == "True")
}

fn is_lost(node: Option<&Node>) -> bool {
    !is_ready(node)
}
