//! Copies that mend themselves: a vnode that lost its data, met damage or is new is filled from the partition's
//! other owners, and serves when it has all that it should hold.
//!
//! | module | owns |
//! |---|---|
//! | `driver` | goes from vnode to vnode, as long as there is one to mend |
//! | `pull` | takes one node's states, page by page: for `moves` as well |
//!
//! What makes a copy whole is decided in `replica::rebuilding` (pure); what changes on disk, in `replica::stage`.
//!
//! Invariants:
//! - a vnode gives up damaged data only while N-W+1 other owners serve, asked after it has stopped serving
//!   itself: of two that would do so at once, each sees the other stopped, and none gives up what the other needs;
//!   until then only the damaged keys are unavailable;
//! - where more vnodes than [`RebuildOptions::most_damaged`] are damaged at a time, the disk counts as lost, and all
//!   vnodes give up their data, each by the same rule;
//! - nothing is taken from others before every request has ended that may have counted on the lost data: its
//!   writes are then on the others, or were never acknowledged;
//! - a page counts once its states are merged and in the log;
//! - what is taken gives way to this node's clients ([`Class::Stream`](crate::overload::Class)), and never stops.
//!
//! Leaves to others: noticing damage (`replica`), lost databases (`storage::lost_database`).

mod driver;
mod pull;

use std::sync::Arc;
use std::time::Duration;

use annulus_ring::{PartitionId, Placement};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use driver::{Rebuilder, RebuilderParts};
pub(crate) use pull::{Pulled, Puller};

/// How vnodes are rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RebuildOptions {
    /// Bytes of states taken from others in a second.
    pub(crate) bytes_per_second: u64,
    /// Bytes of states in one page.
    pub(crate) page_bytes: u64,
    /// Until an attempt that came to nothing is made again.
    pub(crate) retry: Duration,
    /// No request lives longer.
    pub(crate) longest_request: Duration,
    /// With more damaged vnodes at a time the whole disk counts as lost.
    pub(crate) most_damaged: usize,
}

/// A copy that is being filled, under one placement.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) placement: Arc<Placement>,
    pub(crate) partition: PartitionId,
    pub(crate) incarnation: u64,
}

/// Figures of rebuilding. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct RebuildMetrics {
    unsound: Gauge,
    given_up: Counter,
    disks_lost: Counter,
    made_whole: Counter,
    keys: Counter,
    bytes: Counter,
}

impl RebuildMetrics {
    /// Registers all of them.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "vnodes_unsound",
            "Vnodes that are damaged, or being filled, and do not answer for all of their keys",
            self.unsound.clone(),
        );
        registry.register(
            "vnodes_given_up",
            "Vnodes that gave up damaged data",
            self.given_up.clone(),
        );
        registry.register(
            "disks_lost",
            "Times that so many vnodes were damaged that all are rebuilt",
            self.disks_lost.clone(),
        );
        registry.register(
            "vnodes_made_whole",
            "Vnodes that serve after they were filled",
            self.made_whole.clone(),
        );
        registry.register(
            "rebuild_keys",
            "Keys taken from other owners",
            self.keys.clone(),
        );
        registry.register_with_unit(
            "rebuild",
            "Bytes of states taken from other owners",
            Unit::Bytes,
            self.bytes.clone(),
        );
    }
}
