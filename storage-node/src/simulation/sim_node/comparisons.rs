//! The anti-entropy of a simulated node: its task, and what can be seen of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use annulus_ring::PartitionId;

use super::{Running, SimNode};
use crate::antientropy::{AntiEntropy, AntiEntropyParts};
use crate::membership::MembershipView;
use crate::peer::Peers;
use crate::replica::ReplicaError;
use crate::simulation::chance::Chance;
use crate::storage::Sum;

impl SimNode {
    /// Begins to compare this run's copies with others', if anybody does that here.
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
        let stop = running.stop.clone();
        running.background.spawn(anti_entropy.run(stop));
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

    /// Keys that its comparisons have moved so far, and how many of them in vain.
    pub fn repaired(&self) -> (u64, u64) {
        self.anti_entropy_metrics.repaired()
    }
}
