//! A node of a simulation: the real coordinator, replica, placement store and peers' door, over a
//! simulated disk, network and clock.
//!
//! A run that has crashed is cut off from disk, network and clients at once; what of it still runs
//! can't be told from nothing, and ends by its deadlines.

mod comparisons;
mod data;
mod mending;
mod moving;
mod own_state;

use std::sync::Arc;
use std::time::Duration;

use annulus_causality::{KeyState, RequestId, VersionVector};
use annulus_proto::model::{
    Consistency, ErrorCode, Key, KeyspaceName, Outcome, RequestError, TimeToLive,
};
use annulus_ring::{NodeId, PartitionId, Placement, RingEpoch};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::chance::Chance;
use super::disk::SimDisk;
use super::network::{Network, SimTransport};
use super::sim_clock::SimClock;
use super::trace::Trace;
use crate::antientropy::{AntiEntropyMetrics, ScrubMetrics, Settings};
use crate::clock::Clock;
use crate::config::HintLimits;
use crate::coordinator::{Coordinator, CoordinatorMetrics, CoordinatorParts, Delete, Get, Put};
use crate::disk_pace::DiskStanding;
use crate::entropy::Randomness;
use crate::hints::{Hints, Replayer, ReplayerParts};
use crate::keyspace::Keyspaces;
use crate::membership::{Membership, MembershipView};
use crate::moves::Moves;
use crate::peer::{Peers, Responder};
use crate::placement::{Home, PlacementStore};
use crate::reaping::{Reaper, ReaperParts};
use crate::replica::{KeyAddress, Merge, Replica, ReplicaError, VnodeStatus};
use crate::storage::StoreError;

/// What a client asks for, beside what it is about.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Owners that must answer a read; `None`: as the keyspace says.
    pub read: Option<Consistency>,
    /// Owners that must hold a write; `None`: as the keyspace says.
    pub write: Option<Consistency>,
    /// What the client has seen.
    pub context: VersionVector,
    /// The name of the write.
    pub request_id: Option<RequestId>,
    /// Other nodes may stand in for owners that are away.
    pub sloppy: bool,
    /// How long a value lives.
    pub ttl: Option<TimeToLive>,
    /// When the client gives up.
    pub timeout: Duration,
}

/// What a read shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The merged state.
    pub state: KeyState,
    /// The coordinator's wall time of the answer.
    pub now_ms: u64,
}

/// What a write or delete was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What the client has now seen.
    pub clock: VersionVector,
    /// The version in `lww` keyspaces.
    pub version: u64,
    /// Delete: whether there was anything to delete.
    pub existed: bool,
    /// Other nodes keep it for owners that are away.
    pub sloppy: bool,
}

/// A node, running or not.
pub struct SimNode {
    id: NodeId,
    name: String,
    seed: u64,
    disk: SimDisk,
    clock: Arc<SimClock>,
    network: Arc<Network>,
    trace: Arc<Trace>,
    keyspaces: Arc<Keyspaces>,
    hint_limits: HintLimits,
    anti_entropy: Option<Settings>,
    /// Of all its runs.
    anti_entropy_metrics: AntiEntropyMetrics,
    /// Of all its runs.
    scrub_metrics: ScrubMetrics,
    running: Mutex<Option<Running>>,
    /// As the placement's file on disk.
    placement: Mutex<Option<Placement>>,
    runs: Mutex<u64>,
}

#[derive(Clone)]
struct Running {
    coordinator: Coordinator,
    placement: PlacementStore,
    replica: Replica,
    background: TaskTracker,
    hints: Hints,
    membership: Membership,
    disks: DiskStanding,
    died: CancellationToken,
    /// Ends what would go on for ever.
    stop: CancellationToken,
    door: Responder,
    network_run: u64,
    reaper: ReaperParts,
    moves: Moves,
    /// Clients are let in.
    is_open: bool,
}

/// What a simulation's nodes share.
pub(super) struct Surroundings {
    pub(super) seed: u64,
    pub(super) began: Instant,
    pub(super) network: Arc<Network>,
    pub(super) trace: Arc<Trace>,
    pub(super) keyspaces: Arc<Keyspaces>,
    pub(super) hint_limits: HintLimits,
    /// `None`: copies are not compared.
    pub(super) anti_entropy: Option<Settings>,
}

impl SimNode {
    pub(super) fn new(id: NodeId, name: String, disk: SimDisk, around: &Surroundings) -> Arc<Self> {
        around.network.add(id, &name, disk.clone());
        Arc::new(Self {
            id,
            name,
            seed: around.seed,
            disk,
            clock: Arc::new(SimClock::new(around.began)),
            network: around.network.clone(),
            trace: around.trace.clone(),
            keyspaces: around.keyspaces.clone(),
            hint_limits: around.hint_limits.clone(),
            anti_entropy: around.anti_entropy,
            anti_entropy_metrics: AntiEntropyMetrics::default(),
            scrub_metrics: ScrubMetrics::default(),
            running: Mutex::default(),
            placement: Mutex::default(),
            runs: Mutex::default(),
        })
    }

    /// Its identity.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Its name in traces.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its disk.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// What its wall clock shows.
    pub fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// Its clocks.
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.running.lock().is_some()
    }

    /// Starts it over its disk, with the placement that it held last.
    ///
    /// # Errors
    /// When its data can't be opened.
    pub async fn start(self: &Arc<Self>) -> Result<(), StoreError> {
        self.start_shut().await?;
        self.open();
        Ok(())
    }

    /// Starts it without letting anybody in: neither clients nor other nodes, until [`SimNode::open`].
    ///
    /// # Errors
    /// When its data can't be opened.
    pub async fn start_shut(self: &Arc<Self>) -> Result<(), StoreError> {
        assert!(!self.is_up(), "{} runs already", self.name);
        let run = {
            let mut runs = self.runs.lock();
            *runs += 1;
            *runs
        };
        self.trace.note(format_args!("{} starts", self.name));
        let clock: Arc<dyn Clock> = self.clock.clone();
        let stream = format!("{} run {run}", self.name);
        let randomness: Arc<dyn Randomness> = Arc::new(Chance::new(self.seed, &stream));
        let replica = self.start_replica(&clock, &randomness)?;
        let network_run = self.network.begin_run(self.id);
        let placement = PlacementStore::open(self.id, Home::Nowhere, replica.clone())
            .await
            .expect("there is no file that could be damaged");
        let transport = Arc::new(SimTransport {
            network: self.network.clone(),
            node: self.id,
            run: network_run,
        });
        let background = TaskTracker::new();
        let view = MembershipView::default();
        let peers = Peers::new(transport, placement.clone(), clock.clone());
        let hints = self.load_hints(&replica, &background)?;
        let stop = CancellationToken::new();
        let replayer = Replayer::new(ReplayerParts {
            hints: hints.clone(),
            peers: peers.clone(),
            membership: view.clone(),
            placement: placement.clone(),
            clock: clock.clone(),
            randomness: randomness.clone(),
            tasks: background.clone(),
            stop: stop.clone(),
        });
        replayer.start();
        let disks = DiskStanding::default();
        let coordinator = Coordinator::new(CoordinatorParts {
            placement: placement.clone(),
            keyspaces: self.keyspaces.clone(),
            replica: replica.clone(),
            peers: peers.clone(),
            membership: view.clone(),
            disks: disks.clone(),
            hints: hints.clone(),
            clock: clock.clone(),
            randomness: randomness.clone(),
            tasks: background.clone(),
            metrics: CoordinatorMetrics::default(),
        });
        let died = CancellationToken::new();
        let membership = self.membership(
            (&placement, &replica, &hints),
            (peers.clone(), view.clone(), randomness.clone()),
        );
        tokio::spawn(membership.clone().run(died.clone()));
        let with = (&replica, &peers, &placement);
        let reaper = self.reaper(with, view.clone(), hints.clone());
        let rebuilder = self.rebuilder(with, randomness.clone());
        let comparer = self.comparer(with, randomness, view.clone(), disks.clone());
        let moves = self.moves(with);
        let door = Responder::new(
            placement.clone(),
            self.keyspaces.clone(),
            replica.clone(),
            coordinator.clone(),
            hints.clone(),
            (membership.clone(), disks.clone(), moves.pace().clone()),
            clock,
        );
        let running = Running {
            reaper,
            moves: moves.clone(),
            coordinator,
            placement,
            replica,
            background: background.clone(),
            hints,
            membership,
            disks,
            died,
            stop: stop.clone(),
            door,
            network_run,
            is_open: false,
        };
        self.compare_copies(&running, peers, view, &stream);
        let moving = moves.clone().run(stop.clone());
        let mending = async { futures::join!(rebuilder.run(), comparer.run(), moving) };
        background.spawn(async move { stop.run_until_cancelled(mending).await });
        let held = self.placement.lock().clone();
        *self.running.lock() = Some(running.clone());
        if let Some(held) = held {
            self.install(held).await;
        }
        self.end_with_its_disk(running);
        Ok(())
    }

    /// Lets clients and other nodes in.
    pub fn open(&self) {
        if let Some(running) = &mut *self.running.lock() {
            running.is_open = true;
            self.network
                .open_door(self.id, running.network_run, running.door.clone());
            let reaper = Reaper::new(running.reaper.clone());
            running.background.spawn(reaper.run(running.stop.clone()));
        }
    }

    /// A process whose disk has failed exits.
    fn end_with_its_disk(self: &Arc<Self>, running: Running) {
        let node = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = running.died.cancelled() => {}
                reason = running.replica.fatal() => {
                    node.trace.note(format_args!("{} exits: {reason}", node.name));
                    node.crash();
                }
            }
        });
    }

    /// Ends the process, whatever it is doing.
    pub fn crash(&self) {
        let Some(running) = self.running.lock().take() else {
            return;
        };
        self.trace.note(format_args!("{} crashes", self.name));
        self.remember_placement(&running);
        running.died.cancel();
        running.stop.cancel();
        self.network.close_door(self.id);
        self.disk.crash();
    }

    /// Ends the process in order: what it has begun is finished and written out.
    pub async fn stop(&self) {
        let Some(running) = self.running.lock().clone() else {
            return;
        };
        self.trace.note(format_args!("{} stops", self.name));
        // Whether they hear of it or not.
        let _ = timeout(Duration::from_millis(500), running.membership.leave()).await;
        self.network.close_door(self.id);
        running.stop.cancel();
        running.background.close();
        running.background.wait().await;
        self.remember_placement(&running);
        let stopped = running.replica.stop().await;
        self.trace
            .note(format_args!("{} has stopped: {stopped:?}", self.name));
        if self.running.lock().take().is_some() {
            running.died.cancel();
            self.disk.crash();
        }
    }

    fn remember_placement(&self, running: &Running) {
        if let Some(placement) = running.placement.current() {
            *self.placement.lock() = Some(Placement::clone(&placement));
        }
    }

    /// The epoch that it holds, or would hold if it were started now.
    pub fn kept_epoch(&self) -> RingEpoch {
        let held = self.held_placement().map(|held| held.epoch());
        let kept = || Some(self.placement.lock().as_ref()?.epoch());
        held.or_else(kept).unwrap_or_default()
    }

    /// Hands it a placement, as the operator does. It may refuse.
    pub async fn install(&self, placement: Placement) {
        let Some(running) = self.running.lock().clone() else {
            return;
        };
        let epoch = placement.epoch();
        let installed = running.placement.install(placement).await;
        let installed = installed.map(|installed| installed.epoch);
        self.trace.note(format_args!(
            "{} is handed epoch {epoch}, holds {:?}",
            self.name,
            installed.ok()
        ));
        self.remember_placement(&running);
    }

    /// Hints that it keeps for others; none while it is down.
    pub fn hints_pending(&self) -> u64 {
        let running = self.running.lock();
        let backlog = running.as_ref().map(|running| running.hints.backlog());
        backlog.iter().flatten().map(|(_, kept)| kept.hints).sum()
    }

    /// Partitions that it knows to lack writes at other nodes; none while it is down.
    pub fn repairs_needed(&self) -> Vec<(PartitionId, NodeId)> {
        let running = self.running.lock();
        let needed = running
            .as_ref()
            .map(|running| running.hints.repairs_needed());
        needed.unwrap_or_default()
    }

    /// The vnodes that it owns; none while it is down.
    pub fn vnodes(&self) -> Vec<VnodeStatus> {
        let running = self.running.lock().clone();
        running.map_or_else(Vec::new, |running| running.replica.vnodes())
    }

    /// The placement that it holds; none while it is down.
    pub fn held_placement(&self) -> Option<Arc<Placement>> {
        let running = self.running.lock().clone();
        running?.placement.current()
    }

    /// What the node itself holds of a key.
    ///
    /// # Errors
    /// When it is down or its record is damaged.
    pub async fn copy(
        &self,
        keyspace: &KeyspaceName,
        key: &Key,
    ) -> Result<Option<KeyState>, ReplicaError> {
        let running = self.running.lock().clone();
        let running = running.ok_or(ReplicaError::Stopped { applied: false })?;
        let Some(address) = self.address(&running, keyspace, key) else {
            return Ok(None);
        };
        running.replica.read(&address).await
    }

    /// Merges a state straight into the node's copy, as the rebuilding of lost records does.
    ///
    /// # Errors
    /// When the node is down or refuses.
    pub async fn rebuild(
        &self,
        keyspace: &KeyspaceName,
        key: &Key,
        state: KeyState,
    ) -> Result<(), ReplicaError> {
        let running = self.running.lock().clone();
        let running = running.ok_or(ReplicaError::Stopped { applied: false })?;
        let Some(address) = self.address(&running, keyspace, key) else {
            return Ok(());
        };
        let Some(placement) = running.placement.current() else {
            return Ok(());
        };
        let merge = Merge {
            address,
            state,
            deadline: Instant::now() + Duration::from_secs(60),
            fence: placement.epoch(),
        };
        running.replica.merge(merge).await.map(|_| ())
    }

    fn address(&self, running: &Running, keyspace: &KeyspaceName, key: &Key) -> Option<KeyAddress> {
        let placement = running.placement.current()?;
        let keyspace = self.keyspaces.get(keyspace).ok()?.clone();
        Some(KeyAddress::of(&placement, keyspace, key.clone()))
    }

    /// Reads a key here.
    ///
    /// # Errors
    /// The node's own, and `unknown` when it dies meanwhile.
    pub async fn get(
        &self,
        keyspace: &KeyspaceName,
        key: &Key,
        terms: &Terms,
    ) -> Result<Seen, RequestError> {
        let get = Get {
            keyspace: keyspace.clone(),
            key: key.clone(),
            read: terms.read,
            min_context: (!terms.context.is_empty()).then(|| terms.context.clone()),
            deadline: Instant::now() + terms.timeout,
        };
        let found = self.serve(|coordinator| async move { coordinator.get(get).await });
        let found = found.await?;
        Ok(Seen {
            state: found.state,
            now_ms: found.now_ms,
        })
    }

    /// Writes a key here.
    ///
    /// # Errors
    /// As [`SimNode::get`].
    pub async fn put(
        &self,
        keyspace: &KeyspaceName,
        key: &Key,
        value: Bytes,
        terms: &Terms,
    ) -> Result<Done, RequestError> {
        let put = Put {
            keyspace: keyspace.clone(),
            key: key.clone(),
            value,
            context: terms.context.clone(),
            ttl: terms.ttl,
            write: terms.write,
            request_id: terms.request_id,
            sloppy: terms.sloppy,
            deadline: Instant::now() + terms.timeout,
        };
        let written = self.serve(|coordinator| async move { coordinator.put(put).await });
        let written = written.await?;
        Ok(Done {
            clock: written.clock,
            version: written.version,
            existed: true,
            sloppy: written.sloppy,
        })
    }

    /// Deletes a key here.
    ///
    /// # Errors
    /// As [`SimNode::get`].
    pub async fn delete(
        &self,
        keyspace: &KeyspaceName,
        key: &Key,
        terms: &Terms,
    ) -> Result<Done, RequestError> {
        let delete = Delete {
            keyspace: keyspace.clone(),
            key: key.clone(),
            context: (!terms.context.is_empty()).then(|| terms.context.clone()),
            read: terms.read,
            write: terms.write,
            request_id: terms.request_id,
            sloppy: terms.sloppy,
            deadline: Instant::now() + terms.timeout,
        };
        let deleted = self.serve(|coordinator| async move { coordinator.delete(delete).await });
        let deleted = deleted.await?;
        Ok(Done {
            clock: deleted.clock,
            version: 0,
            existed: deleted.existed,
            sloppy: deleted.sloppy,
        })
    }

    /// A request of a client that is connected to this node.
    async fn serve<T, F>(&self, work: impl FnOnce(Coordinator) -> F) -> Result<T, RequestError>
    where
        F: Future<Output = Result<T, RequestError>>,
    {
        self.network.not_stalled(self.id).await;
        let running = self.running.lock().clone();
        let Some(running) = running.filter(|running| running.is_open) else {
            return Err(RequestError::rejected(
                ErrorCode::Unavailable,
                "the node is down",
            ));
        };
        let answer = tokio::select! {
            biased;
            () = running.died.cancelled() => None,
            answer = work(running.coordinator) => Some(answer),
        };
        self.network.not_stalled(self.id).await;
        match answer {
            Some(answer) if !running.died.is_cancelled() => answer,
            _ => Err(RequestError {
                outcome: Outcome::Unknown,
                ..RequestError::unknown(ErrorCode::Unavailable, "the node died")
            }),
        }
    }
}
