//! A node of a simulation: the same composition, over what the simulation hands it.

use std::sync::Arc;

use annulus_causality::ContextKey;
use annulus_ring::NodeId;
use prometheus_client::registry::Registry;
use tokio_util::task::TaskTracker;

use super::data::{Data, data_error, hint_parts};
use super::edges::Listeners;
use super::{Background, Node, StartError, Surroundings};
use crate::clock::Clock;
use crate::config::Config;
use crate::entropy::Randomness;
use crate::hints::Hints;
use crate::keyspace::Keyspaces;
use crate::net::{Network, SimulatedNetwork};
use crate::overload::Overload;
use crate::placement::{Home, PlacementStore};
use crate::replica::{Replica, ReplicaOptions};
use crate::simulation::{Chance, SimClock, SimDisk, SimFile};
use crate::storage::Store;
use crate::telemetry::Metrics;

/// What a simulation hands one run of a node.
#[derive(Debug)]
pub struct Simulated {
    /// The node that its disk is.
    pub id: NodeId,
    /// Its data.
    pub disk: SimDisk,
    /// Its placement, on the same disk.
    pub placement: SimFile,
    /// Its clocks.
    pub clock: Arc<SimClock>,
    /// Its randomness.
    pub randomness: Arc<Chance>,
    /// Its connections.
    pub network: Arc<dyn SimulatedNetwork>,
    /// The cluster's secret for contexts.
    pub context_key: [u8; 32],
}

impl Node {
    /// As [`Node::start`], within a simulation: without threads, files and sockets.
    pub async fn start_simulated(config: Config, around: Simulated) -> Result<Self, StartError> {
        config.validate()?;
        let network = Network::Simulated(around.network.clone());
        let listeners = Listeners::bind(&network, &config.listen).await?;
        let clock: Arc<dyn Clock> = around.clock.clone();
        let randomness: Arc<dyn Randomness> = around.randomness.clone();
        let mut registry = Metrics::registry();
        let keyspaces = Arc::new(config.build_keyspaces()?);
        let background = Background::default();
        let with = (&keyspaces, &background.coordinator);
        let world = (&around, &config);
        let data = open(world, &clock, &randomness, &mut registry, with).await?;
        let around = Surroundings {
            clock,
            randomness,
            network,
            context_key: ContextKey::new(around.context_key),
            keyspaces,
            background,
            data,
            registry,
        };
        Ok(Self::compose(&config, listeners, around))
    }
}

async fn open(
    (around, config): (&Simulated, &Config),
    clock: &Arc<dyn Clock>,
    randomness: &Arc<dyn Randomness>,
    registry: &mut Registry,
    with: (&Arc<Keyspaces>, &TaskTracker),
) -> Result<Data, StartError> {
    let engine = around.disk.open();
    let pace = engine.pace();
    let had_data = around.placement.read().is_some();
    let store = Store::over_disk_of_node(Arc::new(engine), had_data).map_err(data_error)?;
    let store = store.with_free_space(around.disk.free_space());
    let options = ReplicaOptions::default();
    let replica =
        Replica::start_in_tasks(pace, &options, store, clock, randomness.clone(), registry);
    let replica = replica.map_err(data_error)?;
    let home = Home::Simulated(around.placement.clone());
    let placement = PlacementStore::open(around.id, home, replica.clone()).await;
    let overload = Overload::new(&config.limits, clock.clone(), registry);
    let parts = hint_parts(config, &replica, (clock, &overload), registry, with);
    let hints = Hints::load(parts);
    Ok(Data {
        node_id: around.id,
        dir: None,
        replica,
        placement: placement.map_err(data_error)?,
        hints: hints.map_err(data_error)?,
        overload,
    })
}
