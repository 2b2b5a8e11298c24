//! Several nodes in one process: real coordinators and replicas, memory for disks, and a network
//! that fails as it is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_causality::{KeyState, VersionVector};
use annulus_proto::model::{KeyspaceName, RequestError};
use annulus_proto::peer::v1::{Reply, Request, reply, request};
use annulus_ring::{NodeId, Placement, PlacementDocument};
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use prost::Message as _;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ask::put_of;
pub(crate) use super::ask::{Ask, shown};
use super::filling::Filling;
use crate::clock::{Clock, SystemClock};
use crate::config::{HintLimits, Limits};
use crate::coordinator::{
    Coordinator, CoordinatorMetrics, CoordinatorParts, Delete, Deleted, Found, Get, Written,
};
use crate::disk_pace::DiskStanding;
use crate::entropy::SeededRandomness;
use crate::hints::{HintMetrics, HintParts, Hints, Replayer, ReplayerParts};
use crate::keyspace::{ConflictPolicy, Keyspace, Keyspaces};
use crate::membership::{
    DiskState, GossipOptions, Membership, MembershipMetrics, MembershipParts, MembershipView,
    OwnState,
};
use crate::moves::Moves;
use crate::overload::Overload;
use crate::peer::{Call, PeerCallError, Peers, Reachability, Responder, Transport};
use crate::placement::tests::{document_of, memory_replica_with};
use crate::placement::{Home, PlacementStore};
use crate::replica::{KeyAddress, Reclaim, ReclaimStep, Reclaimed, Replica, TombstoneRule};

/// What is wrong with the way to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is known to be down.
    Down,
    /// It can't be reached, and nobody has noticed yet.
    Refuses,
    /// Requests vanish on the way, and the callers wait.
    Hangs,
    /// It answers reads, and merges never reach it.
    RefusesMerges,
    /// Requests arrive and are carried out, and the connection breaks before the reply.
    LosesReplies,
}

/// Carries requests between nodes, in their encoded form.
#[derive(Debug, Default)]
pub(crate) struct Network {
    responders: Mutex<HashMap<NodeId, Responder>>,
    faults: Mutex<HashMap<NodeId, Fault>>,
}

impl Network {
    async fn call(
        self: Arc<Self>,
        to: NodeId,
        call: Call,
        deadline: Instant,
    ) -> Result<reply::Body, PeerCallError> {
        let fault = self.faults.lock().get(&to).copied();
        match fault {
            Some(Fault::Down | Fault::Refuses) => {
                return Err(PeerCallError::NotSent {
                    node: to,
                    why: "it is down",
                });
            }
            Some(Fault::Hangs) => {
                sleep_until(deadline).await;
                return Err(PeerCallError::Lost {
                    node: to,
                    why: "the deadline passed",
                });
            }
            Some(Fault::RefusesMerges) if matches!(call.body, request::Body::Merge(_)) => {
                return Err(PeerCallError::NotSent {
                    node: to,
                    why: "merges do not pass",
                });
            }
            Some(Fault::LosesReplies | Fault::RefusesMerges) | None => {}
        }
        let responder = self.responders.lock()[&to].clone();
        let left = deadline.saturating_duration_since(SystemClock.now());
        let request = Request {
            id: 1,
            epoch: call.epoch.0,
            session: call.session_text(),
            deadline_ms: u32::try_from(left.as_millis()).unwrap(),
            body: Some(call.body),
        };
        let request = Request::decode(Bytes::from(request.encode_to_vec())).unwrap();
        // In a task of its own: the callee does not stop because the caller went away.
        let replied = tokio::spawn(async move {
            let mut reply = responder.respond(request).await;
            responder.attach_newer_placement(&mut reply);
            reply
        });
        let reply = timeout_at(deadline, replied).await;
        let lost = |why| PeerCallError::Lost { node: to, why };
        let reply = reply
            .map_err(|_| lost("the deadline passed"))?
            .map_err(|_| lost("panic"))?;
        if fault == Some(Fault::LosesReplies) {
            return Err(lost("the connection broke"));
        }
        let reply = Reply::decode(Bytes::from(reply.encode_to_vec())).unwrap();
        Ok(reply.body.unwrap())
    }
}

/// One node's way to the others.
#[derive(Debug)]
struct MemoryTransport(Arc<Network>);

impl Transport for MemoryTransport {
    fn call(
        &self,
        to: NodeId,
        call: Call,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<reply::Body, PeerCallError>> {
        Box::pin(self.0.clone().call(to, call, deadline))
    }

    fn reachability(&self, node: NodeId) -> Reachability {
        match self.0.faults.lock().get(&node) {
            Some(Fault::Down) => Reachability::Unreachable,
            _ => Reachability::Connected,
        }
    }

    fn reach(&self, node: NodeId, _deadline: Instant) -> BoxFuture<'static, bool> {
        let connected = self.reachability(node) == Reachability::Connected;
        Box::pin(async move { connected })
    }
}

/// One node.
pub(crate) struct TestNode {
    pub(crate) id: NodeId,
    pub(crate) coordinator: Coordinator,
    pub(crate) placement: PlacementStore,
    pub(crate) responder: Responder,
    /// Its part in moves; runs when a test says so.
    pub(crate) moves: Moves,
    pub(crate) replica: Replica,
    keyspaces: Arc<Keyspaces>,
    metrics: CoordinatorMetrics,
    pub(crate) hints: Hints,
    replayer: Replayer,
    /// What it knows of disks.
    pub(crate) disks: DiskStanding,
    /// What it believes of the others.
    pub(crate) view: MembershipView,
    membership: Membership,
}

fn own_state(hints: Hints) -> OwnState {
    OwnState {
        generation: 1,
        requests_in_flight: Box::new(|| 0),
        disk: Box::new(DiskState::default),
        hint_backlog_bytes: Box::new(move || hints.backlog_bytes()),
    }
}

impl TestNode {
    /// A node over a transport that is made once its placement store exists.
    pub(crate) async fn start(
        id: NodeId,
        transport: impl FnOnce(PlacementStore) -> Arc<dyn Transport>,
    ) -> Self {
        Self::start_with(id, TombstoneRule::default(), transport).await
    }

    /// The same, with other ages of tombstones.
    pub(crate) async fn start_with(
        id: NodeId,
        tombstones: TombstoneRule,
        transport: impl FnOnce(PlacementStore) -> Arc<dyn Transport>,
    ) -> Self {
        let replica = memory_replica_with(tombstones);
        let placement = PlacementStore::open(id, Home::Nowhere, replica.clone())
            .await
            .unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let keyspaces = Arc::new(sloppy_keyspaces());
        let transport = transport(placement.clone());
        let metrics = CoordinatorMetrics::default();
        let tasks = TaskTracker::new();
        let view = MembershipView::default();
        let disks = DiskStanding::default();
        let seed = u64::try_from(id.0.as_u128()).unwrap();
        let peers = Peers::new(transport, placement.clone(), clock.clone());
        let overload = Overload::new(&Limits::default(), clock.clone(), &mut Registry::default());
        let hints = Hints::load(HintParts {
            limits: hint_limits(),
            disk_bytes: None,
            overload: overload.clone(),
            replica: replica.clone(),
            keyspaces: keyspaces.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            metrics: HintMetrics::default(),
        })
        .unwrap();
        let replayer = Replayer::new(ReplayerParts {
            hints: hints.clone(),
            peers: peers.clone(),
            membership: view.clone(),
            placement: placement.clone(),
            clock: clock.clone(),
            randomness: Arc::new(SeededRandomness::new(seed)),
            tasks: tasks.clone(),
            stop: CancellationToken::new(),
        });
        let moves = Filling {
            replica: &replica,
            peers: &peers,
            placement: &placement,
            keyspaces: &keyspaces,
            overload,
            clock: &clock,
        }
        .start(seed);
        let coordinator = Coordinator::new(CoordinatorParts {
            placement: placement.clone(),
            keyspaces: keyspaces.clone(),
            replica: replica.clone(),
            peers: peers.clone(),
            hints: hints.clone(),
            disks: disks.clone(),
            membership: view.clone(),
            clock: clock.clone(),
            randomness: Arc::new(SeededRandomness::new(seed)),
            tasks: tasks.clone(),
            metrics: metrics.clone(),
        });
        // Answers, and says nothing by itself: most tests say what is believed.
        let membership = Membership::new(MembershipParts {
            options: GossipOptions::default(),
            placement: placement.clone(),
            peers,
            view: view.clone(),
            own: own_state(hints.clone()),
            clock: clock.clone(),
            randomness: Arc::new(SeededRandomness::new(seed)),
            tasks: TaskTracker::new(),
            metrics: MembershipMetrics::default(),
        });
        let responder = Responder::new(
            placement.clone(),
            keyspaces.clone(),
            replica.clone(),
            coordinator.clone(),
            hints.clone(),
            (membership.clone(), disks.clone(), moves.pace().clone()),
            clock.clone(),
        );
        Self {
            id,
            coordinator,
            placement,
            responder,
            moves,
            replica,
            keyspaces,
            metrics,
            hints,
            replayer,
            disks,
            view,
            membership,
        }
    }

    /// Gossips from now on.
    pub(crate) fn gossip(&self) {
        tokio::spawn(self.membership.clone().run(CancellationToken::new()));
    }

    /// How many bytes of hints another one says that it keeps; `None` if nothing was heard of it.
    pub(crate) fn backlog_heard_of(&self, node: NodeId) -> Option<u64> {
        let sightings = self.membership.sightings();
        let sighting = sightings.iter().find(|sighting| sighting.node == node);
        Some(sighting?.facts?.hint_backlog_bytes)
    }

    /// Delivers what it keeps for others, from now on.
    pub(crate) fn deliver_hints(&self) {
        self.replayer.start();
    }

    /// Hints that it keeps for others.
    pub(crate) fn hints_pending(&self) -> u64 {
        self.hints
            .backlog()
            .iter()
            .map(|(_, kept)| kept.hints)
            .sum()
    }

    /// Waits until so many owners are known to have missed writes that this node minted.
    pub(crate) async fn noticed_missed_writes(&self, count: u64) {
        let patience = SystemClock.now() + Duration::from_secs(10);
        while self.metrics.replica_write_failures.get() < count {
            assert!(
                SystemClock.now() < patience,
                "fewer than {count} failures noticed"
            );
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Repairs that this node's reads did not make, because the key was being removed.
    pub(crate) fn repairs_left_to_reaping(&self) -> u64 {
        self.metrics.repairs_left_to_reaping.get()
    }

    /// Whether one of its vnodes minted an event that the clock covers.
    pub(crate) fn has_minted_in(&self, clock: &VersionVector) -> bool {
        let own: Vec<_> = self
            .replica
            .vnodes()
            .iter()
            .map(|vnode| vnode.vnode_id)
            .collect();
        clock.iter().any(|(actor, _)| own.contains(&actor.vnode))
    }

    /// Waits until all that this node owns was filled.
    pub(crate) async fn until_whole(&self) {
        let patience = SystemClock.now() + Duration::from_secs(10);
        while !self.replica.unsound().is_empty() {
            let left = self.replica.unsound();
            assert!(SystemClock.now() < patience, "not filled: {left:?}");
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// What this node's own copy holds.
    pub(crate) async fn copy(&self, request: &Ask) -> Option<KeyState> {
        let placement = self.placement.current().unwrap();
        let keyspace = self.keyspaces.get(&request.keyspace).unwrap().clone();
        let address = KeyAddress::of(&placement, keyspace, request.key.clone());
        self.replica.read(&address).await.unwrap()
    }

    /// Removes this node's copy of a deleted key, as the second phase of its removal does.
    pub(crate) async fn remove_tombstone(&self, ask: &Ask) {
        let placement = self.placement.current().unwrap();
        let keyspace = self.keyspaces.get(&ask.keyspace).unwrap().clone();
        let address = KeyAddress::of(&placement, keyspace, ask.key.clone());
        let vnodes = self.replica.vnodes();
        let own = vnodes
            .iter()
            .find(|vnode| vnode.partition == address.partition());
        let vnode = own.unwrap().vnode_id;
        let digest = self.copy(ask).await.unwrap().record_digest();
        let reclaim = Reclaim {
            address,
            step: ReclaimStep::Remove { digest, vnode },
            deadline: SystemClock.now() + ask.timeout,
            fence: placement.epoch(),
        };
        let removed = self.replica.reclaim(reclaim).await.unwrap();
        assert_eq!(removed, Reclaimed::Same { vnode });
    }

    pub(crate) async fn put(&self, ask: &Ask, value: &str) -> Result<Written, RequestError> {
        self.coordinator.put(put_of(ask, value)).await
    }

    pub(crate) async fn get(&self, ask: &Ask) -> Result<Found, RequestError> {
        let get = Get {
            keyspace: ask.keyspace.clone(),
            key: ask.key.clone(),
            read: ask.read,
            min_context: ask.context.clone(),
            deadline: SystemClock.now() + ask.timeout,
        };
        self.coordinator.get(get).await
    }

    pub(crate) async fn delete(&self, ask: &Ask) -> Result<Deleted, RequestError> {
        let delete = Delete {
            keyspace: ask.keyspace.clone(),
            key: ask.key.clone(),
            context: ask.context.clone(),
            read: ask.read,
            write: ask.write,
            request_id: ask.request_id,
            sloppy: ask.sloppy,
            deadline: SystemClock.now() + ask.timeout,
        };
        self.coordinator.delete(delete).await
    }

    /// The values that a read shows.
    pub(crate) async fn values(&self, ask: &Ask) -> Vec<String> {
        shown(&self.get(ask).await.unwrap())
    }
}

/// As little room and patience as tests need.
fn hint_limits() -> HintLimits {
    HintLimits {
        replay_jitter: Duration::ZERO,
        max_sloppy_bytes: 2000,
        ..HintLimits::default()
    }
}

fn sloppy_keyspaces() -> Keyspaces {
    let kv = Keyspace {
        allow_sloppy: true,
        ..Keyspace::new(KeyspaceName::kv(), ConflictPolicy::Siblings)
    };
    Keyspaces::new([kv])
}

/// Nodes that share a network and begin with the placement of epoch 1.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<TestNode>,
    network: Arc<Network>,
}

impl Cluster {
    pub(crate) async fn start(nodes: u16) -> Self {
        let cluster = Self::start_without_placement(nodes).await;
        for node in &cluster.nodes {
            node.placement.install(cluster.placement(1)).await.unwrap();
        }
        cluster
    }

    /// Tombstones of it may go at once.
    pub(crate) async fn start_forgetful(nodes: u16) -> Self {
        let rule = TombstoneRule {
            age: Duration::ZERO,
            max_clock_skew: Duration::ZERO,
        };
        let cluster = Self::start_with(nodes, rule).await;
        for node in &cluster.nodes {
            node.placement.install(cluster.placement(1)).await.unwrap();
        }
        cluster
    }

    pub(crate) async fn start_without_placement(count: u16) -> Self {
        Self::start_with(count, TombstoneRule::default()).await
    }

    async fn start_with(count: u16, tombstones: TombstoneRule) -> Self {
        let network = Arc::new(Network::default());
        let mut nodes = Vec::new();
        for described in document_of(count, 1).nodes {
            let transport: Arc<dyn Transport> = Arc::new(MemoryTransport(network.clone()));
            let node = TestNode::start_with(described.id, tombstones, |_| transport).await;
            network
                .responders
                .lock()
                .insert(node.id, node.responder.clone());
            nodes.push(node);
        }
        Self { nodes, network }
    }

    pub(crate) fn placement(&self, epoch: u64) -> Placement {
        self.document(epoch).try_into().unwrap()
    }

    pub(crate) fn document(&self, epoch: u64) -> PlacementDocument {
        document_of(u16::try_from(self.nodes.len()).unwrap(), epoch)
    }

    pub(crate) fn fail(&self, node: usize, fault: Fault) {
        self.network
            .faults
            .lock()
            .insert(self.nodes[node].id, fault);
    }

    pub(crate) fn heal(&self) {
        self.network.faults.lock().clear();
    }

    /// The positions of a key's owners, and of the others.
    pub(crate) fn owners(&self, ask: &Ask) -> (Vec<usize>, Vec<usize>) {
        let placement = self.placement(1);
        let (_, owners) = placement.locate(ask.keyspace.as_str(), ask.key.as_bytes());
        let owners: Vec<usize> = owners.iter().map(|owner| owner.0.into()).collect();
        let others = (0..self.nodes.len())
            .filter(|node| !owners.contains(node))
            .collect();
        (owners, others)
    }

    /// Each node's copy.
    pub(crate) async fn copies(&self, ask: &Ask) -> Vec<Option<KeyState>> {
        futures::future::join_all(self.nodes.iter().map(|node| node.copy(ask))).await
    }

    /// Waits until all owners hold the same, something.
    pub(crate) async fn converged(&self, ask: &Ask) {
        let patience = SystemClock.now() + Duration::from_secs(10);
        loop {
            let copies = self.copies(ask).await;
            let digests: Vec<_> = copies
                .iter()
                .map(|c| c.as_ref().map(KeyState::digest))
                .collect();
            if digests[0].is_some() && digests.iter().all(|digest| *digest == digests[0]) {
                return;
            }
            assert!(
                SystemClock.now() < patience,
                "copies stay different: {copies:?}"
            );
            sleep(Duration::from_millis(1)).await;
        }
    }
}
