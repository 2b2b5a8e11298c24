//! The first thing anybody does: apply a cluster of three nodes, write through one node, read
//! through another, look at it with kubectl.

use std::collections::BTreeSet;

use annulus_e2e::{
    kvcluster::{FOUNDING, KvCluster, three_nodes},
    namespace::{TestNamespace, with_namespace},
    workload::{Attempt, HttpClient, value_of},
};
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster with Annulus installed: e2e/README.md"]
async fn a_key_written_through_one_node_is_read_through_the_others() -> Result<()> {
    with_namespace("serves-reads-and-writes", |namespace| async move {
        let cluster = KvCluster::create(&namespace, &three_nodes("orders")).await?;
        cluster.await_ready(FOUNDING).await?;
        cluster
            .await_condition("Available", "True", FOUNDING)
            .await?;

        let nodes = cluster.all_endpoints(3).await?;
        let http = HttpClient::new()?;
        for (position, through) in nodes.iter().enumerate() {
            let key = format!("written-through-{position}");
            let written = http.put(through, &key, &value_of(&key)).await;
            assert_eq!(written, Attempt::Acknowledged);
            for node in &nodes {
                let found = http.get(node, &key).await?;
                assert_eq!(
                    found,
                    Some(value_of(&key)),
                    "{key} read through {}",
                    node.pod
                );
            }
            assert_eq!(http.get(through, "never-written").await?, None);
        }

        assert_eq!(
            zones(&namespace, &cluster).await?.len(),
            3,
            "one node in each zone"
        );
        columns_show_the_state(&namespace, &cluster).await
    })
    .await
}

async fn zones(namespace: &TestNamespace, cluster: &KvCluster) -> Result<BTreeSet<String>> {
    let machines: Api<Node> = Api::all(namespace.client.clone());
    let mut zones = BTreeSet::new();
    for pod in cluster.pods().await? {
        let machine = pod
            .spec
            .and_then(|spec| spec.node_name)
            .context("a pod is unscheduled")?;
        let labels = machines
            .get(&machine)
            .await?
            .metadata
            .labels
            .unwrap_or_default();
        zones.extend(labels.get("topology.kubernetes.io/zone").cloned());
    }
    Ok(zones)
}

async fn columns_show_the_state(namespace: &TestNamespace, cluster: &KvCluster) -> Result<()> {
    let output = Command::new("kubectl")
        .args(["get", "kvc", cluster.name(), "--namespace", &namespace.name])
        .output()
        .await
        .context("run kubectl")?;
    let table = String::from_utf8(output.stdout).context("kubectl prints UTF-8")?;
    let (header, row) = table
        .trim()
        .split_once('\n')
        .with_context(|| format!("no table: {table}"))?;
    let columns: Vec<_> = header.split_whitespace().collect();
    assert_eq!(
        columns,
        ["NAME", "READY", "STATUS", "EPOCH", "OPERATION", "AGE"]
    );
    // Cells may be empty or have blanks, so each is cut out by its header's position.
    let cell = |name: &str| -> Option<&str> {
        let start = header.find(name)?;
        let end = columns
            .iter()
            .filter_map(|column| header.find(column))
            .find(|end| *end > start);
        Some(
            row.get(start..end.unwrap_or(row.len()).min(row.len()))?
                .trim(),
        )
    };
    assert_eq!(cell("READY"), Some("3/3"), "{table}");
    assert!(
        cell("STATUS").is_some_and(|status| !status.is_empty()),
        "{table}"
    );
    assert_eq!(
        cell("EPOCH"),
        Some(cluster.ring_epoch().await?.to_string().as_str()),
        "{table}"
    );
    Ok(())
}
