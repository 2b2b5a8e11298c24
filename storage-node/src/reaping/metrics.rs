//! Figures of reclaiming.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::tally::{Amount, ReapingReport, Reason};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// The figures. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReapingMetrics {
    tombstones: Gauge,
    tombstone_bytes: Gauge,
    blocked: Family<ReasonLabels, Gauge>,
    blocked_bytes: Family<ReasonLabels, Gauge>,
    passes: Gauge,
    pub(super) reaped: Counter,
    pub(super) values_dropped: Counter,
    pub(super) bytes_dropped: Counter,
    pub(super) scanned: Counter,
}

impl ReapingMetrics {
    /// Names the figures in a registry (whose prefix is `annulus_node`).
    pub(crate) fn register(&self, registry: &mut Registry) {
        let gauges = [
            (
                "tombstones",
                "Deleted keys that are still kept, where this node is the first live owner",
                &self.tombstones,
            ),
            (
                "reaping_passes",
                "Complete scans for what can be reclaimed, since the start",
                &self.passes,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        registry.register_with_unit(
            "tombstone",
            "Bytes of the deleted keys that are still kept",
            Unit::Bytes,
            self.tombstone_bytes.clone(),
        );
        registry.register(
            "tombstones_blocked",
            "Deleted keys that are old enough to go and can't, by what holds them up",
            self.blocked.clone(),
        );
        registry.register_with_unit(
            "tombstones_blocked",
            "Bytes of the deleted keys that can't go, by what holds them up",
            Unit::Bytes,
            self.blocked_bytes.clone(),
        );
        for (name, help, counter) in [
            (
                "tombstones_reaped",
                "Deleted keys that this node has had forgotten by all owners",
                &self.reaped,
            ),
            (
                "expired_values_dropped",
                "Expired values whose bytes were dropped from this node's copies",
                &self.values_dropped,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        for (name, help, counter) in [
            (
                "expired_values_dropped",
                "Bytes of the expired values that were dropped",
                &self.bytes_dropped,
            ),
            (
                "reaping_scanned",
                "Bytes read in search of what can be reclaimed",
                &self.scanned,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Bytes, counter.clone());
        }
    }

    /// The state of things after a pass.
    pub(super) fn show(&self, report: &ReapingReport) {
        let gauge = |figure: u64| i64::try_from(figure).unwrap_or(i64::MAX);
        self.tombstones.set(gauge(report.tombstones.keys));
        self.tombstone_bytes.set(gauge(report.tombstones.bytes));
        self.passes.set(gauge(report.passes));
        for reason in Reason::ALL {
            let mut sum = Amount::default();
            let blocked = report.blocked.iter();
            blocked
                .filter(|blocked| blocked.blocked.reason == reason)
                .for_each(|blocked| sum.add(blocked.amount));
            let labels = ReasonLabels {
                reason: reason.as_str(),
            };
            self.blocked.get_or_create(&labels).set(gauge(sum.keys));
            self.blocked_bytes
                .get_or_create(&labels)
                .set(gauge(sum.bytes));
        }
    }
}
