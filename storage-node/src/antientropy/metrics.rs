//! Figures of anti-entropy.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::runner::{AntiEntropy, Lag};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ComparisonLabels {
    pub(super) reason: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WayLabels {
    pub(super) way: &'static str,
}

/// Metrics of anti-entropy. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct AntiEntropyMetrics {
    pub(super) comparisons: Family<ComparisonLabels, Counter>,
    pub(super) seconds: Histogram,
    pub(super) blocks: Counter,
    pub(super) bytes: Counter,
    pub(super) suspects: Counter,
    pub(super) keys: Family<WayLabels, Counter>,
    pub(super) needless: Counter,
    pub(super) left_to_reaping: Counter,
    pub(super) unreadable_leaves: Counter,
}

impl Default for AntiEntropyMetrics {
    fn default() -> Self {
        Self {
            comparisons: Family::default(),
            // 1 millisecond to 1,000 seconds.
            seconds: Histogram::new(exponential_buckets(0.001, 4.0, 11)),
            blocks: Counter::default(),
            bytes: Counter::default(),
            suspects: Counter::default(),
            keys: Family::default(),
            needless: Counter::default(),
            left_to_reaping: Counter::default(),
            unreadable_leaves: Counter::default(),
        }
    }
}

impl AntiEntropyMetrics {
    /// Keys that were moved, and of them those that were moved in vain.
    #[cfg(feature = "simulation")]
    pub(crate) fn repaired(&self) -> (u64, u64) {
        let of = |way| self.keys.get_or_create(&WayLabels { way }).get();
        (of("pull") + of("push") + of("both"), self.needless.get())
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "anti_entropy_comparisons",
            "Comparisons of this node's copies with other owners' that it began",
            self.comparisons.clone(),
        );
        registry.register_with_unit(
            "anti_entropy_comparison",
            "Time of one comparison, repairs included",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register(
            "anti_entropy_blocks",
            "Blocks of hash trees read on each side",
            self.blocks.clone(),
        );
        registry.register_with_unit(
            "anti_entropy",
            "Bytes of messages and states of comparisons that this node began",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "anti_entropy_left_to_reaping",
            "Deleted keys in the middle of their removal that were not copied back",
            self.left_to_reaping.clone(),
        );
        registry.register(
            "anti_entropy_suspected_keys",
            "Keys that differed at the first look, most of them written just then",
            self.suspects.clone(),
        );
        registry.register(
            "anti_entropy_repaired_keys",
            "Keys that differed at the second look, and were moved",
            self.keys.clone(),
        );
        registry.register(
            "anti_entropy_needless_repairs",
            "Keys moved that the receiver had by then",
            self.needless.clone(),
        );
        registry.register(
            "anti_entropy_unreadable_leaves",
            "Leaves left alone because a record could not be read back",
            self.unreadable_leaves.clone(),
        );
    }
}

/// How far behind comparisons are, asked for at every scrape.
pub(crate) struct LagCollector(pub(super) AntiEntropy);

impl fmt::Debug for LagCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LagCollector")
    }
}

impl Collector for LagCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Lag {
            longest,
            bound,
            overdue,
            pairs,
        } = self.0.lag();
        let seconds = |time: std::time::Duration| time.as_secs_f64();
        for (name, help, figure) in [
            (
                "anti_entropy_lag_seconds",
                "The longest time that a pair of copies was not compared, of those whose comparisons this node begins",
                seconds(longest),
            ),
            (
                "anti_entropy_bound_seconds",
                "How long that may be",
                seconds(bound),
            ),
            (
                "anti_entropy_overdue_pairs",
                "Pairs over the bound",
                overdue as f64,
            ),
            ("anti_entropy_pairs", "Pairs of copies", pairs as f64),
        ] {
            let gauge = ConstGauge::new(figure);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
