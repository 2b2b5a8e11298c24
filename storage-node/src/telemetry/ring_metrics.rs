//! Metrics of the placement.

use annulus_ring::Placement;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Metrics of the placement. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RingMetrics {
    epoch: Gauge,
    nodes: Gauge,
}

impl RingMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            epoch: Gauge::default(),
            nodes: Gauge::default(),
        };
        registry.register(
            "ring_epoch",
            "Epoch of the placement that the node holds; 0 before the first",
            metrics.epoch.clone(),
        );
        registry.register(
            "ring_nodes",
            "Nodes of that placement",
            metrics.nodes.clone(),
        );
        metrics
    }

    /// The node holds this placement now.
    pub(crate) fn set(&self, placement: &Placement) {
        self.epoch
            .set(i64::try_from(placement.epoch().0).unwrap_or(i64::MAX));
        self.nodes
            .set(i64::try_from(placement.nodes().len()).unwrap_or(i64::MAX));
    }
}
