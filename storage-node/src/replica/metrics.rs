//! Figures of the replica and of the engine below it.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::error::ReplicaError;
use crate::clock::Clock;
use crate::storage::Engine;
use crate::storage::free_space::{FreeSpace, Room};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
    outcome: &'static str,
}

/// Metrics of the replica. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ReplicaMetrics {
    operations: Family<OperationLabels, Counter>,
    pub(super) log_sync_seconds: Histogram,
    pub(super) log_bytes: Counter,
    pub(super) group_operations: Histogram,
    pub(super) queued_operations: Gauge,
    pub(super) disk_reads: Counter,
    pub(super) corrupt_records: Counter,
    pub(super) forgotten_events: Counter,
}

impl ReplicaMetrics {
    /// Registers all of them, and the engine's own figures.
    pub(super) fn register(
        registry: &mut Registry,
        engine: Arc<dyn Engine>,
        free_space: Option<Arc<FreeSpace>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let metrics = Self {
            operations: Family::default(),
            // 50 microseconds to 1.6 seconds.
            log_sync_seconds: Histogram::new(exponential_buckets(0.00005, 2.0, 16)),
            log_bytes: Counter::default(),
            group_operations: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            queued_operations: Gauge::default(),
            disk_reads: Counter::default(),
            corrupt_records: Counter::default(),
            forgotten_events: Counter::default(),
        };
        metrics.register_into(registry);
        registry.register_collector(Box::new(EngineCollector(engine)));
        if let Some(space) = free_space {
            registry.register_collector(Box::new(RoomCollector { space, clock }));
        }
        metrics
    }

    fn register_into(&self, registry: &mut Registry) {
        registry.register(
            "replica_operations",
            "Operations on this node's copies; outcome is ok or the error code",
            self.operations.clone(),
        );
        registry.register_with_unit(
            "log_sync",
            "Time of a synced log write (fsync included)",
            Unit::Seconds,
            self.log_sync_seconds.clone(),
        );
        registry.register_with_unit(
            "log",
            "Bytes of keys and records written to the log",
            Unit::Bytes,
            self.log_bytes.clone(),
        );
        registry.register(
            "log_group_operations",
            "Operations in one group commit",
            self.group_operations.clone(),
        );
        registry.register(
            "replica_queued_operations",
            "Operations that were queued when the last one was put in",
            self.queued_operations.clone(),
        );
        registry.register(
            "replica_disk_reads",
            "Reads that memory alone could not answer",
            self.disk_reads.clone(),
        );
        registry.register(
            "replica_corrupt_records",
            "Records that could not be read back intact",
            self.corrupt_records.clone(),
        );
        registry.register(
            "replica_forgotten_events",
            "Merges that knew events of this node's own which it had forgotten",
            self.forgotten_events.clone(),
        );
    }

    /// Counts one operation.
    pub(super) fn count<T>(&self, operation: &'static str, result: &Result<T, ReplicaError>) {
        let outcome = result
            .as_ref()
            .map_or_else(|error| error.code().as_str(), |_| "ok");
        self.operations
            .get_or_create(&OperationLabels { operation, outcome })
            .inc();
    }
}

/// How much room there is, asked for at every scrape.
#[derive(Debug)]
struct RoomCollector {
    space: Arc<FreeSpace>,
    clock: Arc<dyn Clock>,
}

impl Collector for RoomCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let step = match self.space.room(self.clock.now()) {
            Room::Plenty => 0,
            Room::Low => 1,
            Room::NoBackground => 2,
            Room::NoValues => 3,
        };
        let gauge = ConstGauge::<i64>::new(step);
        let help = "Room on the disk: 0 plenty, 1 low, 2 no background work, 3 no values";
        let metric = encoder.encode_descriptor("disk_room", help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}

/// The engine's figures, asked for at every scrape.
struct EngineCollector(Arc<dyn Engine>);

impl fmt::Debug for EngineCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineCollector")
    }
}

impl Collector for EngineCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let figures = self.0.estimates();
        for (name, help, figure) in [
            ("storage_keys", "Estimated number of keys", figures.keys),
            ("storage_data_bytes", "Bytes of data files", figures.bytes),
            (
                "storage_memtable_bytes",
                "Bytes of memtables",
                figures.memtable_bytes,
            ),
            (
                "storage_block_cache_bytes",
                "Bytes in the block cache",
                figures.block_cache_bytes,
            ),
            (
                "storage_compaction_pending_bytes",
                "Bytes that compaction has still to rewrite",
                figures.compaction_pending_bytes,
            ),
            (
                "storage_compactions_running",
                "Compactions that run now",
                figures.compactions_running,
            ),
            (
                "storage_write_stalled",
                "1 while writes are held back for compaction",
                u64::from(figures.write_stalled),
            ),
            (
                "storage_background_errors",
                "Errors of flushes and compactions since the start",
                figures.background_errors,
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(figure).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
