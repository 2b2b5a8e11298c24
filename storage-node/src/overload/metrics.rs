//! Figures of overload.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Class, State};

type Ratio = Gauge<f64, std::sync::atomic::AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct OverloadMetrics {
    limit: Gauge,
    usual: Ratio,
    shares: Family<ClassLabel, Ratio>,
}

impl OverloadMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "requests_limit",
            "Client requests that may be worked on at once, now",
            metrics.limit.clone(),
        );
        registry.register(
            "requests_usual_p99_seconds",
            "The 99th percentile of successful requests that counts as usual on this node",
            metrics.usual.clone(),
        );
        registry.register(
            "background_share",
            "The share of its allowance that background work may use now; below 1 it gives way to clients",
            metrics.shares.clone(),
        );
        metrics
    }

    pub(super) fn set(&self, state: &State) {
        self.limit
            .set(i64::try_from(state.limit.get()).unwrap_or(i64::MAX));
        self.usual.set(state.usual.p99().as_secs_f64());
        for class in Class::ALL {
            let label = ClassLabel {
                class: class.as_str(),
            };
            let share = self.shares.get_or_create(&label);
            share.set(state.shares.of(class));
        }
    }
}
