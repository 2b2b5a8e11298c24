//! Opens what lies in the data directory.

use std::sync::Arc;

use annulus_ring::NodeId;
use prometheus_client::registry::Registry;

use super::StartError;
use crate::clock::Clock;
use crate::config::{Config, EngineKind};
use crate::entropy::Randomness;
use crate::placement::{Home, PlacementStore};
use crate::replica::{Replica, ReplicaOptions};
use crate::storage::{DataDir, Store};

/// The open data.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) node_id: NodeId,
    pub(super) replica: Replica,
    pub(super) placement: PlacementStore,
}

/// Opens the data directory, replays the log, and takes up the placement that is on disk.
pub(super) async fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
    randomness: &Arc<dyn Randomness>,
    registry: &mut Registry,
) -> Result<Data, StartError> {
    let dir = DataDir::open(&config.data_dir, randomness.as_ref()).map_err(data_error)?;
    let dir = Arc::new(dir);
    let store = match config.storage.engine {
        EngineKind::Memory => Store::in_memory(),
        EngineKind::Rocksdb => {
            let (dir, options) = (dir.clone(), config.storage.rocks_options());
            // Replaying a long log takes seconds.
            #[expect(
                clippy::disallowed_methods,
                reason = "opening blocks; simulations open their own disks"
            )]
            let opening = tokio::task::spawn_blocking(move || Store::open(&dir, &options));
            opening.await.map_err(data_error)?.map_err(data_error)?
        }
    };
    let options = ReplicaOptions::default();
    let replica = Replica::start(&options, store, clock, randomness.clone(), registry);
    let replica = replica.map_err(data_error)?;
    let node_id = dir.node_id();
    let placement = PlacementStore::open(node_id, Home::DataDir(dir), replica.clone()).await;
    let placement = placement.map_err(data_error)?;
    Ok(Data {
        node_id,
        replica,
        placement,
    })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function in map_err"
)]
pub(super) fn data_error<E: ToString>(error: E) -> StartError {
    StartError::Data(error.to_string())
}
