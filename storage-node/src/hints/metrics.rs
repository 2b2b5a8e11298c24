//! Figures of the hints.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::backlog::DropReason;
use super::store::Hints;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabels {
    target: String,
}

/// The counters. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct HintMetrics {
    stored: Family<KindLabels, Counter>,
    dropped: Family<ReasonLabels, Counter>,
    delivered: Counter,
    received: Family<OutcomeLabels, Counter>,
}

impl HintMetrics {
    /// Names the counters in a registry (whose prefix is `annulus_node`).
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "hints_stored",
            "Writes kept for owners that were away; sloppy ones were counted for an acknowledgement",
            self.stored.clone(),
        );
        registry.register(
            "hints_dropped",
            "Writes that are not kept, or no more; their partitions are marked for repair",
            self.dropped.clone(),
        );
        registry.register(
            "hints_delivered",
            "Kept writes that their owners have taken",
            self.delivered.clone(),
        );
        registry.register(
            "hints_received",
            "Writes that others had kept for this node, by what became of them",
            self.received.clone(),
        );
    }

    pub(super) fn stored(&self, sloppy: bool) {
        let kind = if sloppy { "sloppy" } else { "ordinary" };
        self.stored.get_or_create(&KindLabels { kind }).inc();
    }

    pub(super) fn dropped(&self, reason: DropReason) {
        let reason = reason.as_str();
        self.dropped.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(super) fn delivered(&self, count: usize) {
        self.delivered.inc_by(count as u64);
    }

    pub(super) fn received(&self, outcome: &'static str) {
        self.received
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
    }
}

/// What is kept, asked for at every scrape.
struct BacklogCollector(Hints);

impl fmt::Debug for BacklogCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BacklogCollector").finish_non_exhaustive()
    }
}

impl Hints {
    /// Names the figures of the backlog in a registry.
    pub(crate) fn register_backlog(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(BacklogCollector(self.clone())));
    }
}

impl Collector for BacklogCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (hints, bytes, age) = (gauges(), gauges(), gauges());
        for (target, kept) in self.0.backlog() {
            let labels = TargetLabels {
                target: target.to_string(),
            };
            let age_ms = self.0.age_ms(kept.oldest_ms);
            for (family, figure) in [
                (&hints, kept.hints),
                (&bytes, kept.bytes),
                (&age, age_ms / 1000),
            ] {
                family.get_or_create(&labels).set(as_gauge(figure));
            }
        }
        let marks = Gauge::<i64>::default();
        marks.set(as_gauge(self.0.repairs_needed().len() as u64));
        for (name, help, family) in [
            (
                "hints_pending",
                "Writes kept, by the node that they are for",
                &hints,
            ),
            ("hints_pending_bytes", "Bytes of them on disk", &bytes),
            (
                "hints_oldest_age_seconds",
                "Age of the oldest of them, to 10 s",
                &age,
            ),
        ] {
            family.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let help = "Partitions at other nodes that lack writes which nobody keeps";
        marks.encode(encoder.encode_descriptor(
            "hints_repairs_needed",
            help,
            None,
            MetricType::Gauge,
        )?)
    }
}

fn gauges() -> Family<TargetLabels, Gauge> {
    Family::default()
}

fn as_gauge(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}
