//! CPU time of the nodes, from their metrics.

use std::time::Duration;

use annulus_ring::Placement;
use anyhow::Context;
use futures::future::join_all;
use reqwest::Client;

/// The counter of a node's CPU time, user and system.
const CPU_METRIC: &str = "annulus_node_process_cpu_seconds_total";

/// The longest time for one node's metrics.
const METRICS_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the nodes' metrics are.
pub(crate) struct ServerCpu {
    http: Client,
    urls: Vec<String>,
}

impl ServerCpu {
    /// The nodes of this placement.
    pub(crate) fn new(placement: &Placement) -> anyhow::Result<Self> {
        let url = |node: &annulus_ring::Node| format!("http://{}/metrics", node.addresses.admin);
        let http = Client::builder()
            .timeout(METRICS_TIMEOUT)
            .build()
            .context("make an HTTP client")?;
        Ok(Self {
            http,
            urls: placement.nodes().iter().map(url).collect(),
        })
    }

    /// The sum over all nodes since they started; `None` when any of them doesn't say.
    pub(crate) async fn seconds(&self) -> Option<f64> {
        let asked = self.urls.iter().map(|url| self.node_seconds(url));
        join_all(asked).await.into_iter().sum()
    }

    async fn node_seconds(&self, url: &str) -> Option<f64> {
        let response = self.http.get(url).send().await.ok()?;
        cpu_seconds(&response.text().await.ok()?)
    }
}

/// The counter's value in a page of metrics.
fn cpu_seconds(page: &str) -> Option<f64> {
    page.lines().find_map(|line| {
        let rest = line.strip_prefix(CPU_METRIC)?;
        let rest = rest.strip_prefix('{').map_or(Some(rest), |labels| {
            labels.split_once('}').map(|(_, rest)| rest)
        })?;
        rest.split_whitespace().next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_with_and_without_labels() {
        let page = "# TYPE annulus_node_process_cpu_seconds counter\n\
                    annulus_node_other 7\nannulus_node_process_cpu_seconds_total 12.5\n";
        assert_eq!(cpu_seconds(page), Some(12.5));
        let labelled = "annulus_node_process_cpu_seconds_total{node=\"a\"} 1.25 1700000000\n";
        assert_eq!(cpu_seconds(labelled), Some(1.25));
        assert_eq!(cpu_seconds("annulus_node_other 7\n"), None);
    }
}
