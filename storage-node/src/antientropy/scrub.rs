//! The scrub: reads all data of a vnode back, slowly, and compares it with the vnode's hash tree.
//!
//! It finds damage that nobody reads, and sums that are not those of the data, which only a mistake in this
//! program or damage below the engine's checksums can make. Wrong sums are put right, counted and logged, and the
//! vnode is compared with all other owners.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_ring::{PartitionId, Placement};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::runner::{AntiEntropy, SAVES};
use super::schedule::Reason;
use crate::clock::{Clock, milliseconds};
use crate::entropy::Randomness;
use crate::overload::{Allowance, Class, Overload};
use crate::placement::PlacementStore;
use crate::replica::{Replica, ReplicaError};

/// How often it looks whether a scrub is due.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What is set from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScrubSettings {
    /// Between two scrubs of a vnode.
    pub(crate) interval: Duration,
    /// What may be read in the long run.
    pub(crate) bytes_per_second: u64,
}

/// What the scrub is made of.
#[derive(Debug)]
pub(crate) struct ScrubParts {
    pub(crate) settings: ScrubSettings,
    pub(crate) placement: PlacementStore,
    pub(crate) replica: Replica,
    pub(crate) anti_entropy: AntiEntropy,
    /// How far it gives way to clients.
    pub(crate) overload: Overload,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) randomness: Arc<dyn Randomness>,
    pub(crate) metrics: ScrubMetrics,
}

/// Figures of the scrub. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct ScrubMetrics {
    vnodes: Counter,
    bytes: Counter,
    wrong_sums: Counter,
    unreadable: Counter,
}

impl ScrubMetrics {
    /// Vnodes that were read back, and sums that were wrong.
    #[cfg(feature = "simulation")]
    pub(crate) fn found(&self) -> (u64, u64) {
        (self.vnodes.get(), self.wrong_sums.get())
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "scrubbed_vnodes",
            "Vnodes read back whole",
            self.vnodes.clone(),
        );
        registry.register_with_unit(
            "scrubbed",
            "Bytes of records read back",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "scrub_wrong_sums",
            "Sums of hash trees that were not those of the data: a mistake or damage, alert on it",
            self.wrong_sums.clone(),
        );
        registry.register(
            "scrub_unreadable_blocks",
            "Blocks of leaves with a record that could not be read back",
            self.unreadable.clone(),
        );
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Scrub {
    parts: ScrubParts,
    /// When each vnode is due, in wall milliseconds.
    due_ms: BTreeMap<PartitionId, u64>,
    allowance: Allowance,
}

impl Scrub {
    /// Made of these parts; does nothing until [`Self::run`].
    pub(crate) fn new(parts: ScrubParts) -> Self {
        let rate = parts.settings.bytes_per_second;
        let allowance = Allowance::new(rate, SAVES, parts.clock.now());
        Self {
            parts,
            due_ms: BTreeMap::new(),
            allowance,
        }
    }

    /// Works until it is stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        // Stopped or ended by itself: both are the end.
        let _ = stop.run_until_cancelled(self.work()).await;
    }

    async fn work(&mut self) {
        loop {
            if let Some((placement, partition)) = self.next_due().await {
                let scrubbed = self.scrub(&placement, partition).await;
                if let Err(error) = scrubbed {
                    tracing::warn!(%partition, %error, "a scrub ended early");
                    self.put_off(partition, LOOK_EVERY);
                }
                continue;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn next_due(&mut self) -> Option<(Arc<Placement>, PartitionId)> {
        let placement = self.parts.placement.current()?;
        let now_ms = self.parts.clock.wall_ms();
        let owned: Vec<PartitionId> = self
            .parts
            .replica
            .vnodes()
            .iter()
            .map(|vnode| vnode.partition)
            .collect();
        self.due_ms.retain(|partition, _| owned.contains(partition));
        for partition in owned {
            if !self.due_ms.contains_key(&partition) {
                let last_ms = self.last_ms(partition, now_ms).await?;
                let interval = milliseconds(self.parts.settings.interval);
                self.due_ms
                    .insert(partition, last_ms.saturating_add(interval));
            }
        }
        let (partition, due_ms) = self.due_ms.iter().min_by_key(|(_, due_ms)| **due_ms)?;
        (*due_ms <= now_ms).then_some((placement, *partition))
    }

    /// A vnode that was never scrubbed is taken for one that was some time ago, so that not all are due at once.
    async fn last_ms(&self, partition: PartitionId, now_ms: u64) -> Option<u64> {
        let replica = &self.parts.replica;
        if let Some(last_ms) = replica.scrubbed_at_ms(partition).await.ok()? {
            return Some(last_ms.min(now_ms));
        }
        let share = self.parts.randomness.fraction();
        let ago = milliseconds(self.parts.settings.interval.mul_f64(share));
        let last_ms = now_ms.saturating_sub(ago);
        replica.set_scrubbed_at_ms(partition, last_ms).await.ok()?;
        Some(last_ms)
    }

    fn put_off(&mut self, partition: PartitionId, by: Duration) {
        let due_ms = self.parts.clock.wall_ms() + milliseconds(by);
        self.due_ms.insert(partition, due_ms);
    }

    async fn scrub(
        &mut self,
        placement: &Placement,
        partition: PartitionId,
    ) -> Result<(), ReplicaError> {
        let ScrubParts {
            replica, metrics, ..
        } = &self.parts;
        let (mut next, mut wrong) = (Some(0), 0);
        while let Some(first) = next {
            let part = replica
                .scrub(placement.partitions(), partition, first)
                .await?;
            metrics.bytes.inc_by(part.bytes as u64);
            metrics.wrong_sums.inc_by(part.wrong as u64);
            metrics.unreadable.inc_by(part.unreadable as u64);
            wrong += part.wrong;
            next = part.next;
            let (share, now) = (
                self.parts.overload.share(Class::Scrub),
                self.parts.clock.now(),
            );
            self.allowance.spend(part.bytes as u64, share, now);
            let wait = self.allowance.owed(now);
            if !wait.is_zero() {
                sleep(wait).await;
            }
        }
        metrics.vnodes.inc();
        if wrong > 0 {
            tracing::error!(%partition, wrong, "sums of the hash tree were not those of the data");
            self.compare_with_all(placement, partition);
        }
        let now_ms = self.parts.clock.wall_ms();
        replica.set_scrubbed_at_ms(partition, now_ms).await?;
        self.put_off(partition, self.parts.settings.interval);
        Ok(())
    }

    fn compare_with_all(&self, placement: &Placement, partition: PartitionId) {
        for owner in placement.owners(partition) {
            let peer = placement.node(*owner).id;
            // This node itself is no pair with itself.
            let _ = self
                .parts
                .anti_entropy
                .request(partition, peer, Reason::Scrubbed);
        }
    }
}
