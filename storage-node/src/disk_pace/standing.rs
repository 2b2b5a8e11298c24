//! What is known of which node's disk, as the rest of the node asks for it. Cheap to clone; all clones are one.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use annulus_ring::NodeId;
use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::DiskReport;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct DiskStanding(Arc<ArcSwap<Known>>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// This node's own disk.
    pub(super) own: DiskReport,
    /// Other nodes whose disks are slow.
    pub(super) slow_others: BTreeSet<NodeId>,
}

impl DiskStanding {
    /// What this node says of its disk.
    pub(crate) fn own(&self) -> DiskReport {
        self.0.load().own
    }

    /// Whether another node's disk is known to be slow.
    pub(crate) fn is_slow(&self, other: NodeId) -> bool {
        self.0.load().slow_others.contains(&other)
    }

    /// The other nodes whose disks are known to be slow.
    #[cfg(feature = "simulation")]
    pub(crate) fn slow_others(&self) -> BTreeSet<NodeId> {
        self.0.load().slow_others.clone()
    }

    pub(super) fn set(&self, known: Known) {
        self.0.store(Arc::new(known));
    }

    /// Knows all at once which disks are slow.
    #[cfg(test)]
    pub(crate) fn assume_slow(&self, own: bool, others: impl IntoIterator<Item = NodeId>) {
        let own = DiskReport {
            is_slow: own,
            ..DiskReport::default()
        };
        let slow_others = others.into_iter().collect();
        self.set(Known { own, slow_others });
    }

    /// Registers its figures.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }
}

impl Collector for DiskStanding {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Known { own, slow_others } = &**self.0.load();
        for (name, help, figure) in [
            (
                "disk_slow",
                "1 while this node's disk is slow beside the others'",
                i64::from(own.is_slow),
            ),
            (
                "disk_slow_others",
                "Other nodes whose disks are known to be slow",
                i64::try_from(slow_others.len()).unwrap_or(i64::MAX),
            ),
        ] {
            let gauge = ConstGauge::new(figure);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        for (name, help, figure) in [
            (
                "disk_sync_p99",
                "99 of 100 synced log writes of the last minute took less; 0: there were too few",
                own.pace.sync,
            ),
            (
                "disk_read_p99",
                "99 of 100 reads from the disk in the last minute took less; 0: there were too few",
                own.pace.read,
            ),
        ] {
            let gauge = ConstGauge::new(figure.unwrap_or_default().as_secs_f64());
            let unit = Some(&Unit::Seconds);
            let metric = encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
