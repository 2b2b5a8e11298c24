//! The composition root: what is built from what, in which order it starts and stops.
//!
//! Start: data directory → storage → replica → placement → transport → coordinator → edges.
//! A node without a placement is alive but not ready.
//!
//! Stop ([`Node::drain`]): not ready any more → clients' edges finish what they have →
//! peers and background work end → storage says that it ended clean → the admin port goes last.
//!
//! Leaves to others: everything that happens in between.

mod data;
mod edges;
mod own_state;
#[cfg(feature = "simulation")]
mod simulated;
mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use annulus_causality::ContextKey;
use annulus_ring::NodeId;
use prometheus_client::registry::Registry;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::data::Data;
use self::edges::{Core, Edges, Listeners};
use self::own_state::own_state;
use self::upkeep::Upkeep;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError};
use crate::coordinator::{Coordinator, CoordinatorMetrics, CoordinatorParts};
use crate::disk_pace::DiskStanding;
use crate::entropy::{Randomness, SystemRandomness};
use crate::hints::Hints;
use crate::keyspace::Keyspaces;
use crate::membership::{Membership, MembershipMetrics, MembershipParts, MembershipView};
use crate::net::Network;
use crate::peer::{Peers, TonicTransport};
use crate::replica::Replica;
use crate::server::contexts::Contexts;
use crate::server::phase::{Phase, PhaseSetter};
use crate::storage::DataDir;
use crate::telemetry::Metrics;

#[cfg(feature = "simulation")]
pub use self::simulated::Simulated;

/// How long peers' streams may take to end.
const LINKS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long telling others of the stop may take: they find out by themselves anyway.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);

/// Why a node did not start. Nothing was served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data can't be used.
    #[error("open the data: {0}")]
    Data(String),
    /// An address can't be listened on.
    #[error("listen on {address} ({listener}): {source}")]
    Listen {
        /// Which of the four.
        listener: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Where a running node listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Clients, gRPC.
    pub grpc: SocketAddr,
    /// Clients, HTTP.
    pub http: SocketAddr,
    /// Other nodes.
    pub peer: SocketAddr,
    /// The operator and metrics.
    pub admin: SocketAddr,
}

/// A running node. To stop it, [drain](Self::drain) it: dropped, it goes on until its runtime ends.
#[derive(Debug)]
#[must_use]
pub struct Node {
    id: NodeId,
    /// Simulations have no files.
    dir: Option<Arc<DataDir>>,
    drain_timeout: Duration,
    phase: Arc<PhaseSetter>,
    replica: Replica,
    hints: Hints,
    edges: Edges,
    membership: Membership,
    background: Background,
}

/// What goes on besides clients' requests.
#[derive(Debug, Clone, Default)]
struct Background {
    /// Rests of fan-outs, repairs: they end by themselves.
    coordinator: TaskTracker,
    /// Streams to and from peers, upkeep, followers of the placement: they end at `stop`.
    links: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    fn until_stopped(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.links.spawn(async move {
            // Cancelled or ended by itself: both are the end.
            let _ = stop.run_until_cancelled(work).await;
        });
    }
}

/// What a node is handed of the world outside, its data opened.
struct Surroundings {
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    network: Network,
    context_key: ContextKey,
    keyspaces: Arc<Keyspaces>,
    background: Background,
    data: Data,
    registry: Registry,
}

/// Why a node did not end cleanly: the next start treats the end of its log as suspect.
#[derive(Debug, thiserror::Error)]
#[error("the node's data did not end clean: {0}")]
pub struct UncleanEnd(String);

impl Node {
    /// Opens the data and begins to serve. Serves requests once it knows a placement: the one on
    /// its disk, or the one that it is handed through the admin port.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.validate()?;
        let context_key = config.read_context_key()?;
        let network = Network::System;
        let listeners = Listeners::bind(&network, &config.listen).await?;
        let (clock, randomness) = system();
        let mut registry = Metrics::registry();
        let keyspaces = Arc::new(config.build_keyspaces()?);
        let background = Background::default();
        let with = (&keyspaces, &background.coordinator);
        let data = data::open(&config, &clock, &randomness, &mut registry, with).await?;
        let around = Surroundings {
            clock,
            randomness,
            network,
            context_key,
            keyspaces,
            background,
            data,
            registry,
        };
        Ok(Self::compose(&config, listeners, around))
    }

    /// Puts the parts together, and begins to serve.
    fn compose(config: &Config, listeners: Listeners, around: Surroundings) -> Self {
        let Surroundings {
            clock,
            randomness,
            network,
            context_key,
            keyspaces,
            background,
            data,
            mut registry,
        } = around;
        let transport = TonicTransport::start(
            network,
            data.placement.clone(),
            clock.clone(),
            randomness.clone(),
            background.links.clone(),
            background.stop.clone(),
        );
        let view = MembershipView::default();
        let metrics = CoordinatorMetrics::default();
        metrics.register(&mut registry);
        let peers = Peers::new(
            Arc::new(transport.clone()),
            data.placement.clone(),
            clock.clone(),
        );
        let disks = DiskStanding::default();
        disks.register(&mut registry);
        let upkeep = Upkeep {
            config,
            data: &data,
            keyspaces: &keyspaces,
            peers: &peers,
            membership: &view,
            disks: &disks,
            clock: &clock,
            randomness: &randomness,
        };
        let anti_entropy = upkeep.start(&background, &mut registry);
        let reaping = upkeep.reap(&background, &mut registry);
        let moves = upkeep.moves(&background, &mut registry);
        let coordinator = Coordinator::new(CoordinatorParts {
            placement: data.placement.clone(),
            keyspaces: keyspaces.clone(),
            replica: data.replica.clone(),
            peers: peers.clone(),
            membership: view.clone(),
            disks: disks.clone(),
            hints: data.hints.clone(),
            clock: clock.clone(),
            randomness: randomness.clone(),
            tasks: background.coordinator.clone(),
            metrics,
        });
        let membership = Membership::new(MembershipParts {
            options: config.gossip.options(),
            placement: data.placement.clone(),
            peers,
            view,
            own: own_state(&data),
            clock: clock.clone(),
            randomness,
            tasks: background.links.clone(),
            metrics: membership_metrics(&mut registry),
        });
        let metrics = Metrics::complete(registry, &config.data_dir);

        let phase = Arc::new(PhaseSetter::new());
        let core = Core {
            data,
            coordinator,
            membership: membership.clone(),
            anti_entropy,
            transport,
            reaping,
            moves,
            disks,
            keyspaces,
            contexts: Contexts::new(context_key),
            metrics,
            clock,
            background: background.clone(),
        };
        let (id, dir) = (core.data.node_id, core.data.dir.clone());
        let (replica, hints) = (core.data.replica.clone(), core.data.hints.clone());
        let gossip = membership.clone().run(background.stop.clone());
        background.links.spawn(gossip);
        let edges = Edges::serve(listeners, core, config, &phase);
        tracing::info!(node_id = %id, addresses = ?edges.addresses(), "listening");
        Self {
            id,
            dir,
            drain_timeout: config.drain_timeout,
            phase,
            replica,
            hints,
            edges,
            membership,
            background,
        }
    }

    /// The node's identity: that of its data directory.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.edges.addresses()
    }

    /// Resolves, with the reason, when the disk can't be trusted any more: the process must then
    /// exit at once with an error.
    pub async fn failed(&self) -> String {
        let reason = self.replica.fatal().await;
        if self.replica.database_is_damaged()
            && let Some(dir) = self.dir.clone()
        {
            let why = reason.clone();
            #[expect(
                clippy::disallowed_methods,
                reason = "a file is written; simulations replace whole disks"
            )]
            let noted = tokio::task::spawn_blocking(move || data::note_lost(&dir, &why)).await;
            noted.unwrap_or_else(|error| tracing::error!(%error, "no note of the damage was left"));
        }
        reason
    }

    /// Stops in order; takes as long as `drain_timeout` and the last write to disk at most.
    pub async fn drain(self) -> Result<(), UncleanEnd> {
        self.phase.set(Phase::Draining);
        let Background {
            coordinator,
            links,
            stop,
        } = &self.background;
        let finished = async {
            self.edges.finish_clients().await;
            coordinator.close();
            coordinator.wait().await;
        };
        if timeout(self.drain_timeout, finished).await.is_err() {
            tracing::warn!(timeout = ?self.drain_timeout, "requests are cut off");
            self.edges.cut_clients();
        }
        self.report_hints();
        let left = timeout(LEAVE_TIMEOUT, self.membership.leave()).await;
        if left.is_err() {
            tracing::debug!("nobody hears that this node stops");
        }
        stop.cancel();
        links.close();
        if timeout(LINKS_TIMEOUT, links.wait()).await.is_err() {
            tracing::warn!("peers' streams are cut off");
        }
        let ended = self
            .replica
            .stop()
            .await
            .map_err(|error| UncleanEnd(error.to_string()));
        self.edges.finish_admin().await;
        tracing::info!(clean = ended.is_ok(), "stopped");
        ended
    }

    /// What is kept for others stays on this disk: a node that is to leave for good must not.
    fn report_hints(&self) {
        for (target, kept) in self.hints.backlog() {
            tracing::warn!(
                %target,
                hints = kept.hints,
                sloppy = kept.sloppy,
                "stopping with writes that another node lacks; they are delivered after the next start"
            );
        }
    }
}

fn membership_metrics(registry: &mut Registry) -> MembershipMetrics {
    let metrics = MembershipMetrics::default();
    metrics.register(registry);
    metrics
}

fn system() -> (Arc<dyn Clock>, Arc<dyn Randomness>) {
    (Arc::new(SystemClock), Arc::new(SystemRandomness))
}
