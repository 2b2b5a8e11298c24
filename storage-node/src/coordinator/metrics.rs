//! Figures of the coordinator.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// How a read repair was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum RepairKind {
    /// The reader waited for it.
    Blocking,
    /// After the answer.
    Background,
}

/// Labels of read repairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RepairLabels {
    pub(super) kind: RepairKind,
}

/// The counters. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct CoordinatorMetrics {
    pub(super) read_repairs: Family<RepairLabels, Counter>,
    pub(super) digest_mismatches: Counter,
    pub(super) speculative_reads: Counter,
    pub(super) forwarded_writes: Counter,
    pub(super) placement_restarts: Counter,
    pub(super) replica_write_failures: Counter,
    pub(super) sloppy_writes: Counter,
    pub(super) repairs_left_to_reaping: Counter,
}

impl CoordinatorMetrics {
    /// Names the counters in a registry (whose prefix is `annulus_node`).
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "read_repairs",
            "Reads that found stale replicas and mended them, by whether the reader waited",
            self.read_repairs.clone(),
        );
        registry.register(
            "read_digest_mismatches",
            "Reads in which the replicas' digests differed",
            self.digest_mismatches.clone(),
        );
        registry.register(
            "speculative_reads",
            "Replica reads sent because another replica was slow",
            self.speculative_reads.clone(),
        );
        registry.register(
            "forwarded_writes",
            "Writes handed to an owner, because this node is none or could not take them",
            self.forwarded_writes.clone(),
        );
        registry.register(
            "placement_restarts",
            "Rounds started over because a node acted under another placement",
            self.placement_restarts.clone(),
        );
        registry.register(
            "replica_write_failures",
            "Owners that did not take a minted write in time; they are stale until repaired",
            self.replica_write_failures.clone(),
        );
        registry.register(
            "sloppy_writes",
            "Owners for which another node keeps a write that counts as acknowledged",
            self.sloppy_writes.clone(),
        );
        registry.register(
            "read_repairs_left_to_reaping",
            "Reads that met a deleted key in the middle of its removal, and did not copy it back",
            self.repairs_left_to_reaping.clone(),
        );
    }
}
