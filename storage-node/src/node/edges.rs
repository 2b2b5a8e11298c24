//! The node's four ports: bound, put together with what they serve, and ended in order.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

use super::data::Data;
use super::{Addresses, Background, StartError};
use crate::antientropy::AntiEntropy;
use crate::clock::Clock;
use crate::config::{Config, Limits, Listen};
use crate::coordinator::Coordinator;
use crate::disk_pace::DiskStanding;
use crate::keyspace::Keyspaces;
use crate::membership::Membership;
use crate::moves::Moves;
use crate::net::Network;
use crate::peer::{PeerService, Responder, TonicTransport};
use crate::placement::PlacementStore;
use crate::reaping::ReapingStatus;
use crate::server::admin::{self, Sources, StatusSource};
use crate::server::client_edge::{ClientEdge, Parts};
use crate::server::contexts::Contexts;
use crate::server::listener::{Listener, Protocol, Stop};
use crate::server::phase::{Phase, PhaseSetter};
use crate::server::request_bytes::RequestBytes;
use crate::server::{grpc, headers, http};
use crate::telemetry::{Metrics, RingMetrics};

/// How long the admin port's last answers may take.
const ADMIN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

/// The sockets, bound before anything else: a taken port is found out at once.
pub(super) struct Listeners {
    grpc: Listener,
    http: Listener,
    admin: Listener,
    peer: Listener,
    addresses: Addresses,
}

impl Listeners {
    pub(super) async fn bind(network: &Network, listen: &Listen) -> Result<Self, StartError> {
        let grpc = bind(network, "grpc", listen.grpc, Protocol::Grpc).await?;
        let http = bind(network, "http", listen.http, Protocol::Http).await?;
        let admin = bind(network, "admin", listen.admin, Protocol::Http).await?;
        let peer = bind(network, "peer", listen.peer, Protocol::Peer).await?;
        let addresses = Addresses {
            grpc: grpc.1,
            http: http.1,
            admin: admin.1,
            peer: peer.1,
        };
        Ok(Self {
            grpc: grpc.0,
            http: http.0,
            admin: admin.0,
            peer: peer.0,
            addresses,
        })
    }
}

async fn bind(
    network: &Network,
    name: &'static str,
    address: SocketAddr,
    protocol: Protocol,
) -> Result<(Listener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen {
        listener: name,
        address,
        source,
    };
    let listener = Listener::bind(network, name, address, protocol)
        .await
        .map_err(failed)?;
    let address = listener.address().map_err(failed)?;
    Ok((listener, address))
}

/// What the edges are put together from.
pub(super) struct Core {
    pub(super) data: Data,
    pub(super) coordinator: Coordinator,
    pub(super) membership: Membership,
    pub(super) anti_entropy: AntiEntropy,
    pub(super) transport: TonicTransport,
    pub(super) reaping: ReapingStatus,
    pub(super) moves: Moves,
    pub(super) disks: DiskStanding,
    pub(super) keyspaces: Arc<Keyspaces>,
    pub(super) contexts: Contexts,
    pub(super) metrics: Metrics,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) background: Background,
}

/// The ports being served.
#[derive(Debug)]
pub(super) struct Edges {
    addresses: Addresses,
    /// Clients' connections, over both ports.
    clients: TaskTracker,
    clients_stop: Stop,
    /// Clients' requests, which may outlive their connections.
    requests: TaskTracker,
    admin: JoinHandle<()>,
    admin_stop: Stop,
}

impl Edges {
    pub(super) fn serve(
        listeners: Listeners,
        core: Core,
        config: &Config,
        phase: &Arc<PhaseSetter>,
    ) -> Self {
        let limits = &config.limits;
        let (clients, clients_stop) = (TaskTracker::new(), Stop::default());
        let (requests, admin_stop) = (TaskTracker::new(), Stop::default());
        let status = status_source(&core, config, phase);
        let (health, follower) = health(&core, phase);
        core.background.links.spawn(follower);
        serve_peers(listeners.peer, &core, limits);

        let metrics = core.metrics.requests.clone();
        let serve = |listener: Listener, router, stop: &Stop| {
            listener.serve(router, limits.clone(), metrics.clone(), stop.clone())
        };
        let admin = admin::router(status, core.metrics.clone());
        let admin = tokio::spawn(serve(listeners.admin, admin, &admin_stop));
        let coordinator = core.coordinator.clone();
        let max_value_bytes = core
            .keyspaces
            .iter()
            .map(|keyspace| keyspace.max_value_bytes)
            .max();
        let edge = client_edge(core, limits, phase, requests.clone());
        let counted = |router| edge.request_bytes().clone().count(router);
        let with_headers =
            |router| headers::add(counted(router), &config.name, coordinator.clone());
        let http = with_headers(http::router(edge.clone()));
        clients.spawn(serve(listeners.http, http, &clients_stop));
        let drain = clients_stop.drain.clone();
        let grpc = grpc::router(
            edge.clone(),
            coordinator.clone(),
            health,
            max_value_bytes.unwrap_or(0),
            drain,
        );
        clients.spawn(serve(listeners.grpc, with_headers(grpc), &clients_stop));
        clients.close();
        let addresses = listeners.addresses;
        Self {
            addresses,
            clients,
            clients_stop,
            requests,
            admin,
            admin_stop,
        }
    }

    pub(super) fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Takes no more connections and requests; returns when those that there are have ended.
    pub(super) async fn finish_clients(&self) {
        self.clients_stop.drain.cancel();
        self.clients.wait().await;
        self.requests.close();
        self.requests.wait().await;
    }

    /// Closes clients' connections at once.
    pub(super) fn cut_clients(&self) {
        self.clients_stop.abort.cancel();
    }

    /// The admin port ends last.
    pub(super) async fn finish_admin(self) {
        self.admin_stop.drain.cancel();
        if tokio::time::timeout(ADMIN_TIMEOUT, self.admin)
            .await
            .is_err()
        {
            self.admin_stop.abort.cancel();
        }
    }
}

fn status_source(core: &Core, config: &Config, phase: &PhaseSetter) -> StatusSource {
    StatusSource::new(Sources {
        node_id: core.data.node_id,
        name: config.name.clone(),
        data_dir: config.data_dir.clone(),
        started: core.clock.now(),
        clock: core.clock.clone(),
        placement: core.data.placement.clone(),
        replica: core.data.replica.clone(),
        transport: core.transport.clone(),
        hints: core.data.hints.clone(),
        membership: core.membership.clone(),
        anti_entropy: core.anti_entropy.clone(),
        reaping: core.reaping.clone(),
        moves: core.moves.clone(),
        disks: core.disks.clone(),
        phase: phase.subscribe(),
    })
}

fn client_edge(
    core: Core,
    limits: &Limits,
    phase: &PhaseSetter,
    requests: TaskTracker,
) -> ClientEdge {
    ClientEdge::new(Parts {
        coordinator: core.coordinator,
        keyspaces: core.keyspaces,
        contexts: core.contexts,
        phase: phase.subscribe(),
        overload: core.data.overload,
        request_bytes: RequestBytes::new(limits, core.metrics.requests.clone()),
        limits: limits.clone(),
        clock: core.clock,
        metrics: core.metrics.requests,
        requests,
    })
}

fn serve_peers(listener: Listener, core: &Core, limits: &Limits) {
    let Background { links, stop, .. } = &core.background;
    let responder = Responder::new(
        core.data.placement.clone(),
        core.keyspaces.clone(),
        core.data.replica.clone(),
        core.coordinator.clone(),
        core.data.hints.clone(),
        (
            core.membership.clone(),
            core.disks.clone(),
            core.moves.pace().clone(),
        ),
        core.clock.clone(),
    );
    let service = PeerService::new(responder, links.clone(), stop.clone());
    let metrics = core.metrics.requests.clone();
    let stop = Stop {
        drain: stop.clone(),
        ..Stop::default()
    };
    links.spawn(listener.serve(service.router(), limits.clone(), metrics, stop));
}

/// Health checking, and the task that follows placement and phase with it.
fn health(
    core: &Core,
    phase: &Arc<PhaseSetter>,
) -> (HealthService, impl Future<Output = ()> + use<>) {
    let reporter = HealthReporter::new();
    let service = HealthService::from_health_reporter(reporter.clone());
    let follower = Follower {
        placement: core.data.placement.clone(),
        phase: phase.clone(),
        reporter,
        ring: core.metrics.ring.clone(),
    };
    let stop = core.background.stop.clone();
    (service, async move {
        // Cancelled or ended by itself: both are the end.
        let _ = stop.run_until_cancelled(follower.follow()).await;
    })
}

struct Follower {
    placement: PlacementStore,
    phase: Arc<PhaseSetter>,
    reporter: HealthReporter,
    ring: RingMetrics,
}

impl Follower {
    /// The first placement makes the node serve.
    async fn follow(self) {
        let mut phases = self.phase.subscribe();
        loop {
            let seen = self.placement.epoch();
            phases.mark_unchanged();
            if let Some(placement) = self.placement.current() {
                self.ring.set(&placement);
                self.phase.set(Phase::Serving);
            }
            self.report(&phases).await;
            tokio::select! {
                biased;
                changed = phases.changed() => if changed.is_err() { return },
                () = self.placement.epoch_after(seen) => {}
            }
        }
    }

    async fn report(&self, phases: &watch::Receiver<Phase>) {
        let status = match *phases.borrow() {
            Phase::Serving => ServingStatus::Serving,
            Phase::WaitingForPlacement | Phase::Draining => ServingStatus::NotServing,
        };
        for service in grpc::SERVICES.into_iter().chain([""]) {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
