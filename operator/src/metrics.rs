//! All metrics of the operator, `annulus_operator_…`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::crd::KVCluster;
use crate::status::ConditionType;

/// One condition of one cluster.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConditionLabels {
    namespace: String,
    cluster: String,
    condition: String,
}

/// The metrics, and the registry that writes them out.
pub(crate) struct Metrics {
    registry: Registry,
    duration: Histogram,
    errors: Counter,
    last_success: Gauge,
    conditions: Family<ConditionLabels, Gauge>,
    leader: Gauge,
}

impl Metrics {
    /// All metrics, at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("annulus_operator");
        let metrics = Self {
            duration: Histogram::new(exponential_buckets(0.005, 2.0, 12)),
            errors: Counter::default(),
            last_success: Gauge::default(),
            conditions: Family::default(),
            leader: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register_with_unit(
            "reconcile_duration",
            "Time that one run of the reconcile loop took",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Runs of the reconcile loop that failed",
            metrics.errors.clone(),
        );
        registry.register_with_unit(
            "last_success_timestamp",
            "Unix time of the last run that did not fail",
            Unit::Seconds,
            metrics.last_success.clone(),
        );
        registry.register(
            "cluster_condition",
            "1 where a cluster's condition is True, 0 where it is not",
            metrics.conditions.clone(),
        );
        registry.register(
            "leader",
            "1 on the replica that works",
            metrics.leader.clone(),
        );
        Self {
            registry,
            ..metrics
        }
    }

    /// Notes a run.
    pub(crate) fn reconciled(&self, took: Duration, succeeded: bool, now: Timestamp) {
        self.duration.observe(took.as_secs_f64());
        if succeeded {
            self.last_success.set(now.as_second());
        } else {
            self.errors.inc();
        }
    }

    /// Notes a cluster's conditions.
    pub(crate) fn conditions(&self, cluster: &KVCluster, conditions: &[Condition]) {
        let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_default());
        for condition in conditions {
            let value = i64::from(condition.status == "True");
            self.conditions
                .get_or_create(&labels(&name, &namespace, &condition.type_))
                .set(value);
        }
    }

    /// Drops what was noted of a cluster that is gone.
    pub(crate) fn forget(&self, name: &str, namespace: &str) {
        for condition in ConditionType::ALL {
            let labels = labels(name, namespace, condition.as_str());
            self.conditions.remove(&labels);
        }
    }

    /// Notes whether this replica works.
    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The metrics in the OpenMetrics text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }
}

fn labels(name: &str, namespace: &str, condition: &str) -> ConditionLabels {
    ConditionLabels {
        namespace: namespace.to_owned(),
        cluster: name.to_owned(),
        condition: condition.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn conditions_of_a_deleted_cluster_disappear() {
        let (metrics, cluster) = (Metrics::new(), fixtures::cluster(3));
        let condition = Condition {
            type_: "Ready".into(),
            status: "True".into(),
            reason: "AllNodesServe".into(),
            message: String::new(),
            last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                Timestamp::UNIX_EPOCH,
            ),
            observed_generation: None,
        };
        metrics.conditions(&cluster, &[condition]);
        let sample = "annulus_operator_cluster_condition{namespace=\"shop\",cluster=\"orders\",condition=\"Ready\"} 1";
        assert!(metrics.text().contains(sample), "{}", metrics.text());
        metrics.forget("orders", "shop");
        assert!(!metrics.text().contains("orders"));
    }

    #[test]
    fn names_carry_their_units() {
        let text = Metrics::new().text();
        for name in [
            "annulus_operator_reconcile_duration_seconds_count",
            "annulus_operator_reconcile_errors_total",
            "annulus_operator_last_success_timestamp_seconds",
            "annulus_operator_leader",
        ] {
            assert!(text.contains(name), "{name} is missing in\n{text}");
        }
    }
}
