//! What a run of the reconcile loop works with. Time and randomness come in from here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;

use crate::cluster_controller::NodeDefaults;
use crate::crd::KVCluster;
use crate::metrics::Metrics;
use crate::watches::Cache;

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// What the reconcile loop works with.
pub(crate) struct Context<N> {
    /// The API server.
    pub(crate) client: Client,
    /// What the watches have seen.
    pub(crate) cache: Cache,
    /// The nodes.
    pub(crate) nodes: N,
    /// Events.
    pub(crate) recorder: Recorder,
    /// What nodes get whose cluster says nothing of it.
    pub(crate) defaults: NodeDefaults,
    /// Metrics.
    pub(crate) metrics: Arc<Metrics>,
    /// Delays after failures.
    pub(crate) backoff: Backoff,
    /// Since when clusters have been looked at without a failure.
    pub(crate) watching: Watching,
    /// The clock.
    pub(crate) now: fn() -> Timestamp,
    /// Randomness, fit for secrets.
    pub(crate) random: fn() -> [u8; 32],
}

impl<N> Context<N> {
    /// Drops what was noted of a cluster that is gone.
    pub(crate) fn forget(&self, name: &str, namespace: &str) {
        self.metrics.forget(name, namespace);
        let cluster = ObjectRef::new(name).within(namespace);
        self.backoff.succeeded(&cluster);
        self.watching.interrupted(&cluster);
    }
}

/// Since when each cluster has been looked at without a failure. It is lost with the process, on
/// purpose: who has just come back has not seen what happened meanwhile.
#[derive(Clone, Default)]
pub(crate) struct Watching {
    since: Arc<Mutex<HashMap<ObjectRef<KVCluster>, Timestamp>>>,
}

impl Watching {
    /// Since when; from now on, if it was not.
    pub(crate) fn since(&self, cluster: &ObjectRef<KVCluster>, now: Timestamp) -> Timestamp {
        *self.since.lock().entry(cluster.clone()).or_insert(now)
    }

    /// A look failed.
    pub(crate) fn interrupted(&self, cluster: &ObjectRef<KVCluster>) {
        self.since.lock().remove(cluster);
    }
}

/// Exponential delays, per cluster.
#[derive(Default)]
pub(crate) struct Backoff {
    failures: Mutex<HashMap<ObjectRef<KVCluster>, u32>>,
}

impl Backoff {
    /// Notes a failure; the delay before the next try.
    pub(crate) fn failed(&self, cluster: &ObjectRef<KVCluster>) -> Duration {
        let mut failures = self.failures.lock();
        let count = failures.entry(cluster.clone()).or_insert(0);
        let delay = FIRST_DELAY
            .saturating_mul(2_u32.saturating_pow(*count))
            .min(LONGEST_DELAY);
        *count = count.saturating_add(1);
        delay
    }

    /// Forgets the failures.
    pub(crate) fn succeeded(&self, cluster: &ObjectRef<KVCluster>) {
        self.failures.lock().remove(cluster);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute_and_start_anew_after_a_success() {
        let (backoff, cluster) = (Backoff::default(), ObjectRef::new("c").within("n"));
        let delays: Vec<u64> = (0..8).map(|_| backoff.failed(&cluster).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.succeeded(&cluster);
        assert_eq!(backoff.failed(&cluster), FIRST_DELAY);
    }
}
