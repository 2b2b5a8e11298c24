//! The anti-entropy of a simulated node: comparisons and scrubs, and what can be seen of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_ring::PartitionId;

use super::{Running, SimNode};
use crate::antientropy::{AntiEntropy, AntiEntropyParts, Scrub, ScrubParts, ScrubSettings};
use crate::membership::MembershipView;
use crate::peer::Peers;
use crate::replica::ReplicaError;
use crate::simulation::chance::Chance;
use crate::storage::Sum;

/// So often that each vnode is scrubbed several times in a run, and slow enough to be met by faults.
const SCRUBS: ScrubSettings = ScrubSettings {
    interval: Duration::from_secs(60),
    bytes_per_second: 1_000_000,
};

impl SimNode {
    /// Begins to compare this run's copies with others' and to scrub them, if anybody does that here.
    pub(super) fn compare_copies(
        &self,
        running: &Running,
        peers: Peers,
        membership: MembershipView,
        stream: &str,
    ) {
        let Some(settings) = self.anti_entropy else {
            return;
        };
        // Draws of its own: the rest of a run does not depend on how often it draws.
        let draws = Chance::new(self.seed, &format!("{stream} anti-entropy"));
        let anti_entropy = AntiEntropy::new(AntiEntropyParts {
            settings,
            placement: running.placement.clone(),
            keyspaces: self.keyspaces.clone(),
            replica: running.replica.clone(),
            peers,
            membership,
            hints: running.hints.clone(),
            overload: self.no_overload(),
            clock: self.clock.clone(),
            randomness: Arc::new(draws),
            metrics: self.anti_entropy_metrics.clone(),
        });
        let draws = Chance::new(self.seed, &format!("{stream} scrub"));
        let scrub = Scrub::new(ScrubParts {
            settings: SCRUBS,
            placement: running.placement.clone(),
            replica: running.replica.clone(),
            anti_entropy: anti_entropy.clone(),
            overload: self.no_overload(),
            clock: self.clock.clone(),
            randomness: Arc::new(draws),
            metrics: self.scrub_metrics.clone(),
        });
        let background = &running.background;
        background.spawn(anti_entropy.run(running.stop.clone()));
        background.spawn(scrub.run(running.stop.clone()));
    }

    /// The sum of its tree of each partition that it owns: hash and number of keys.
    ///
    /// # Errors
    /// When it is down or can't read them.
    pub async fn trees(&self) -> Result<BTreeMap<PartitionId, Sum>, ReplicaError> {
        let running = self.running.lock().clone();
        let running = running.ok_or(ReplicaError::Stopped { applied: false })?;
        let mut trees = BTreeMap::new();
        for vnode in running.replica.vnodes() {
            let root = running.replica.tree_root(vnode.partition).await?;
            trees.insert(vnode.partition, root);
        }
        Ok(trees)
    }

    /// Vnodes that its scrubs have read back so far, and how many sums of their trees were wrong.
    pub fn scrubbed(&self) -> (u64, u64) {
        self.scrub_metrics.found()
    }

    /// Keys that its comparisons have moved so far, and how many of them in vain.
    pub fn repaired(&self) -> (u64, u64) {
        self.anti_entropy_metrics.repaired()
    }
}
