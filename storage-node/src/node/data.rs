//! Opens what lies in the data directory.

use std::sync::Arc;

use annulus_ring::NodeId;
use prometheus_client::registry::Registry;
use tokio_util::task::TaskTracker;

use super::StartError;
use crate::clock::Clock;
use crate::config::{Config, EngineKind};
use crate::entropy::Randomness;
use crate::hints::{HintMetrics, HintParts, Hints};
use crate::keyspace::Keyspaces;
use crate::overload::Overload;
use crate::placement::{self, Home, PlacementStore};
use crate::replica::{Replica, ReplicaOptions};
use crate::storage::{DataDir, EngineError, Store, lost_database};
use crate::telemetry::disk_space;

/// The open data.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) node_id: NodeId,
    /// Where it lies; simulations have no files.
    pub(super) dir: Option<Arc<DataDir>>,
    pub(super) replica: Replica,
    pub(super) placement: PlacementStore,
    pub(super) hints: Hints,
    pub(super) overload: Overload,
}

/// Opens the data directory, replays the log, and takes up the placement that is on disk.
pub(super) async fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
    randomness: &Arc<dyn Randomness>,
    registry: &mut Registry,
    with: (&Arc<Keyspaces>, &TaskTracker),
) -> Result<Data, StartError> {
    let dir = DataDir::open(&config.data_dir, randomness.as_ref()).map_err(data_error)?;
    let dir = Arc::new(dir);
    let store = match config.storage.engine {
        EngineKind::Memory => Store::in_memory(),
        EngineKind::Rocksdb => {
            let (dir, options) = (dir.clone(), config.storage.rocks_options());
            let now_ms = clock.wall_ms();
            // Replaying a long log takes seconds.
            #[expect(
                clippy::disallowed_methods,
                reason = "opening blocks; simulations open their own disks"
            )]
            let opening = tokio::task::spawn_blocking(move || {
                if placement::has_other_owners(dir.path()) {
                    lost_database::open_or_replace(&dir, &options, now_ms)
                } else {
                    Store::open(&dir, &options)
                }
            });
            opening.await.map_err(data_error)?.map_err(data_error)?
        }
    };
    let options = ReplicaOptions {
        tombstones: config.reaping.rule(),
        ..ReplicaOptions::default()
    };
    let replica = Replica::start(&options, store, clock, randomness.clone(), registry);
    if let Err(error @ EngineError::Corruption { .. }) = &replica {
        // The node's own records: the next start begins with an empty database.
        note_lost(&dir, &error.to_string());
    }
    let replica = replica.map_err(data_error)?;
    let node_id = dir.node_id();
    let home = Home::DataDir(dir.clone());
    let placement = PlacementStore::open(node_id, home, replica.clone()).await;
    let placement = placement.map_err(data_error)?;
    let overload = Overload::new(&config.limits, clock.clone(), registry);
    let disk = disk_space(&config.data_dir).ok();
    let parts = HintParts {
        disk_bytes: disk.map(|disk| disk.total_bytes),
        ..hint_parts(config, &replica, (clock, &overload), registry, with)
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "loading reads the disk; simulations load from their own"
    )]
    let loading = tokio::task::spawn_blocking(move || Hints::load(parts));
    let hints = loading.await.map_err(data_error)?.map_err(data_error)?;
    hints.register_backlog(registry);
    Ok(Data {
        node_id,
        dir: Some(dir),
        replica,
        placement,
        hints,
        overload,
    })
}

/// What hints are kept with, on a disk of unknown size.
pub(super) fn hint_parts(
    config: &Config,
    replica: &Replica,
    (clock, overload): (&Arc<dyn Clock>, &Overload),
    registry: &mut Registry,
    (keyspaces, tasks): (&Arc<Keyspaces>, &TaskTracker),
) -> HintParts {
    let metrics = HintMetrics::default();
    metrics.register(registry);
    HintParts {
        limits: config.hints.clone(),
        disk_bytes: None,
        overload: overload.clone(),
        replica: replica.clone(),
        keyspaces: keyspaces.clone(),
        clock: clock.clone(),
        tasks: tasks.clone(),
        metrics,
    }
}

/// Leaves word for the next start that the database can't be used.
pub(super) fn note_lost(dir: &DataDir, reason: &str) {
    if let Err(error) = lost_database::note(dir, reason) {
        tracing::error!(%error, "no note of the damaged database could be left");
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function in map_err"
)]
pub(super) fn data_error<E: ToString>(error: E) -> StartError {
    StartError::Data(error.to_string())
}
