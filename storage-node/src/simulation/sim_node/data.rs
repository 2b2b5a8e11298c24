//! What a simulated node opens over its disk: its replica, and the hints that it keeps.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio_util::task::TaskTracker;

use super::SimNode;
use crate::clock::Clock;
use crate::config::Limits;
use crate::entropy::Randomness;
use crate::hints::{HintMetrics, HintParts, Hints};
use crate::overload::Overload;
use crate::replica::{Replica, ReplicaOptions};
use crate::simulation::reclaiming;
use crate::storage::{EngineError, Store, StoreError};

impl SimNode {
    pub(super) fn start_replica(
        &self,
        clock: &Arc<dyn Clock>,
        randomness: &Arc<dyn Randomness>,
    ) -> Result<Replica, StoreError> {
        let engine = self.disk.open();
        let pace = engine.pace();
        let had_data = self.placement.lock().is_some();
        let store = Store::over_disk_of_node(Arc::new(engine), had_data)?;
        let options = ReplicaOptions {
            tombstones: reclaiming::rule(),
            ..ReplicaOptions::default()
        };
        let replica = Replica::start_in_tasks(
            pace,
            &options,
            store.with_free_space(self.disk.free_space()),
            clock,
            randomness.clone(),
            &mut Registry::default(),
        );
        Ok(replica?)
    }

    pub(super) fn load_hints(
        &self,
        replica: &Replica,
        tasks: &TaskTracker,
    ) -> Result<Hints, EngineError> {
        let clock: Arc<dyn Clock> = self.clock.clone();
        Hints::load(HintParts {
            limits: self.hint_limits.clone(),
            disk_bytes: None,
            overload: self.no_overload(),
            replica: replica.clone(),
            keyspaces: self.keyspaces.clone(),
            clock,
            tasks: tasks.clone(),
            metrics: HintMetrics::default(),
        })
    }

    /// Nothing here measures the load.
    pub(super) fn no_overload(&self) -> Overload {
        Overload::new(
            &Limits::default(),
            self.clock.clone(),
            &mut Registry::default(),
        )
    }
}
