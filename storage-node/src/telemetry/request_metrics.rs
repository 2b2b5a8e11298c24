//! Metrics of client requests.

use std::fmt;
use std::time::Duration;

use annulus_proto::model::{Consistency, KeyspaceName};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Get,
    Put,
    Delete,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }
}

impl EncodeLabelValue for Operation {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct KeyspaceLabel(KeyspaceName);

impl EncodeLabelValue for KeyspaceLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.0.as_str(), encoder)
    }
}

/// The keyspace is one that exists: unknown names are refused before anything is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: Operation,
    keyspace: KeyspaceLabel,
    consistency: &'static str,
    outcome: &'static str,
}

/// Metrics of client requests. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RequestMetrics {
    duration: Family<RequestLabels, Histogram, fn() -> Histogram>,
    siblings: Histogram,
    in_flight: Gauge,
    refused: Counter,
    connections: Gauge,
    refused_connections: Counter,
}

/// 100 microseconds to 26 seconds.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 19))
}

impl RequestMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            duration: Family::new_with_constructor(durations),
            siblings: Histogram::new([1.0, 2.0, 3.0, 5.0, 10.0, 25.0, 64.0]),
            in_flight: Gauge::default(),
            refused: Counter::default(),
            connections: Gauge::default(),
            refused_connections: Counter::default(),
        };
        registry.register(
            "request_duration_seconds",
            "Time from a client's request to its answer; outcome is ok, not_found or the error code",
            metrics.duration.clone(),
        );
        registry.register(
            "read_siblings",
            "Siblings that reads showed, in keyspaces that keep them",
            metrics.siblings.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Client requests that are worked on",
            metrics.in_flight.clone(),
        );
        registry.register(
            "requests_overloaded",
            "Client requests refused because too many were worked on",
            metrics.refused.clone(),
        );
        registry.register(
            "connections",
            "Open connections to all listeners",
            metrics.connections.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections closed at once because too many were open",
            metrics.refused_connections.clone(),
        );
        metrics
    }

    /// A request was answered.
    pub(crate) fn observe(
        &self,
        operation: Operation,
        keyspace: &KeyspaceName,
        consistency: Consistency,
        outcome: &'static str,
        took: Duration,
    ) {
        let labels = RequestLabels {
            operation,
            keyspace: KeyspaceLabel(keyspace.clone()),
            consistency: consistency.label(),
            outcome,
        };
        self.duration
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// A read showed this many siblings.
    pub(crate) fn observe_siblings(&self, count: usize) {
        self.siblings.observe(count as f64);
    }

    /// A request was let in; it is out when the guard is dropped.
    pub(crate) fn enter(&self) -> Counted {
        Counted::one_more(&self.in_flight)
    }

    /// A request was turned away.
    pub(crate) fn refuse(&self) {
        self.refused.inc();
    }

    /// A connection was opened; it is closed when the guard is dropped.
    pub(crate) fn connect(&self) -> Counted {
        Counted::one_more(&self.connections)
    }

    /// A connection was turned away.
    pub(crate) fn refuse_connection(&self) {
        self.refused_connections.inc();
    }
}

/// One of what a gauge counts, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    fn one_more(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
