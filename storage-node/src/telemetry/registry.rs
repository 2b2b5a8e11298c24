//! The registry of all metrics, and its text form.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::disk::DiskCollector;
use super::process::ProcessCollector;
use super::request_metrics::RequestMetrics;
use super::ring_metrics::RingMetrics;

/// The prefix of every metric.
const PREFIX: &str = "annulus_node";

/// Media type of the text form.
pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of one node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    /// Of the client edges.
    pub(crate) requests: RequestMetrics,
    /// Of the placement.
    pub(crate) ring: RingMetrics,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// An empty registry, for the other parts to register their metrics in.
    pub(crate) fn registry() -> Registry {
        Registry::with_prefix(PREFIX)
    }

    /// Adds the edges', the placement's, the process's and the disk's metrics, and closes the
    /// registry.
    pub(crate) fn complete(mut registry: Registry, data_dir: &Path) -> Self {
        let requests = RequestMetrics::register(&mut registry);
        let ring = RingMetrics::register(&mut registry);
        registry.register_collector(Box::new(ProcessCollector));
        registry.register_collector(Box::new(DiskCollector::new(data_dir)));
        Self {
            registry: Arc::new(registry),
            requests,
            ring,
        }
    }

    /// The OpenMetrics text of all metrics as they are now.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(16 << 10);
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use annulus_proto::model::{Consistency, KeyspaceName};

    use super::*;
    use crate::telemetry::Operation;

    #[test]
    fn every_metric_is_encoded_under_its_prefix() {
        let metrics = Metrics::complete(Metrics::registry(), Path::new("/"));
        metrics.requests.observe(
            Operation::Put,
            &KeyspaceName::kv(),
            Consistency::Quorum,
            "ok",
            Duration::from_millis(3),
        );
        let text = metrics.encode().unwrap();
        for line in [
            "annulus_node_request_duration_seconds_count{operation=\"put\",keyspace=\"kv\",\
             consistency=\"quorum\",outcome=\"ok\"} 1",
            "# TYPE annulus_node_process_cpu_seconds counter",
            "annulus_node_process_cpu_seconds_total",
            "annulus_node_process_resident_memory_bytes",
            "annulus_node_disk_free_bytes",
            "annulus_node_ring_epoch 0",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
