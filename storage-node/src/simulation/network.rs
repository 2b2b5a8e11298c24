//! The network between the nodes of a simulation.
//!
//! Requests travel in their encoded form, each on its own, so they overtake one another. A way can
//! be slow, lossy, or cut in one direction; a request can come twice; the answer can get lost; a
//! connection can break. A node that is down or cut off is noticed after a while, as the real transport does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_causality::HlcStamp;
use annulus_proto::peer::v1::{
    DeliverHints, Hint, HintOutcome, KeyRef, Reply, Request, Tombstone, reply, request,
};
use annulus_ring::NodeId;
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::chance::Chance;
use super::disk::SimDisk;
use super::observer::{Answered, HintTaken, Observer, Served};
use super::trace::Trace;
use crate::peer::{Call, PeerCallError, Reachability, Responder, Transport};
use crate::watched::Watched;

/// How long until a node that can't be reached is known for it.
const NOTICED_AFTER: Duration = Duration::from_millis(800);

/// How a way from one node to another is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// As it should be.
    #[default]
    Open,
    /// Messages take up to so many milliseconds.
    Slow(u64),
    /// So many in a thousand messages get lost, and so many come twice.
    Lossy(u64),
    /// Nothing passes.
    Cut,
}

/// The network of one simulation.
pub struct Network {
    state: Mutex<State>,
    chance: Chance,
    trace: Arc<Trace>,
    observer: Arc<dyn Observer>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    hosts: BTreeMap<NodeId, Host>,
    /// Ways that are not open, and since when.
    ways: BTreeMap<(NodeId, NodeId), (Way, Instant)>,
    /// Who waits for an answer, by caller and callee: a connection's end ends the wait.
    waiting: BTreeMap<(NodeId, NodeId), BTreeMap<u64, oneshot::Sender<Bytes>>>,
    calls: u64,
    /// How often the connection from one to another broke.
    resets: BTreeMap<(NodeId, NodeId), u64>,
}

struct Host {
    name: String,
    /// The present run and its door; `None`: it is down.
    running: Option<(u64, Responder)>,
    runs: u64,
    changed: Instant,
    stalled: Arc<Watched<bool>>,
    disk: SimDisk,
}

/// What keeps a message from its destination now.
enum Obstacle {
    Noticed,
    Unnoticed,
}

impl Network {
    pub(super) fn new(chance: Chance, trace: Arc<Trace>, observer: Arc<dyn Observer>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            chance,
            trace,
            observer,
        })
    }

    pub(super) fn add(&self, node: NodeId, name: &str, disk: SimDisk) {
        let host = Host {
            name: name.to_owned(),
            running: None,
            runs: 0,
            changed: Instant::now(),
            stalled: Arc::new(Watched::new(false)),
            disk,
        };
        self.state.lock().hosts.insert(node, host);
    }

    /// A node begins a run; its messages are known by the number.
    pub(super) fn begin_run(&self, node: NodeId) -> u64 {
        let mut state = self.state.lock();
        let host = host_mut(&mut state, node);
        host.runs += 1;
        host.runs
    }

    pub(super) fn open_door(&self, node: NodeId, run: u64, door: Responder) {
        let mut state = self.state.lock();
        let host = host_mut(&mut state, node);
        host.running = Some((run, door));
        host.changed = Instant::now();
    }

    pub(super) fn close_door(&self, node: NodeId) {
        let mut state = self.state.lock();
        let host = host_mut(&mut state, node);
        host.running = None;
        host.runs += 1;
        host.changed = Instant::now();
    }

    /// Nothing reaches the node or leaves it while it stalls; it comes later.
    pub(super) fn set_stalled(&self, node: NodeId, stalled: bool) {
        let mut state = self.state.lock();
        host_mut(&mut state, node).stalled.set(stalled);
    }

    /// Changes the way from one node to another; the way back stays as it is.
    pub fn set_way(&self, from: NodeId, to: NodeId, way: Way) {
        let mut state = self.state.lock();
        if way == Way::Open {
            state.ways.remove(&(from, to));
        } else {
            state.ways.insert((from, to), (way, Instant::now()));
        }
    }

    /// The connection over which one node asks another breaks: whoever waits for an answer learns that at
    /// once, and what is on its way may arrive or not.
    pub fn reset(&self, from: NodeId, to: NodeId) {
        let mut state = self.state.lock();
        state.waiting.remove(&(from, to));
        *state.resets.entry((from, to)).or_default() += 1;
    }

    fn resets(&self, from: NodeId, to: NodeId) -> u64 {
        let state = self.state.lock();
        state.resets.get(&(from, to)).copied().unwrap_or_default()
    }

    /// Whoever waits for an answer is known by the number, until it or the connection ends.
    fn wait_for_answer(&self, from: NodeId, to: NodeId) -> (u64, oneshot::Receiver<Bytes>) {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock();
        state.calls += 1;
        let number = state.calls;
        let waiting = state.waiting.entry((from, to)).or_default();
        waiting.insert(number, answer);
        (number, answered)
    }

    /// The wait ends; `None` if it has ended.
    fn end_wait(&self, from: NodeId, to: NodeId, number: u64) -> Option<oneshot::Sender<Bytes>> {
        let mut state = self.state.lock();
        state.waiting.get_mut(&(from, to))?.remove(&number)
    }

    /// Opens all ways.
    pub fn open_all(&self) {
        self.state.lock().ways.clear();
    }

    /// Waits until the node does not stall.
    pub(super) async fn not_stalled(&self, node: NodeId) {
        let stalled = {
            let mut state = self.state.lock();
            host_mut(&mut state, node).stalled.clone()
        };
        stalled.wait_for(|stalled| !stalled).await;
    }

    fn is_running(&self, node: NodeId, run: u64) -> bool {
        let mut state = self.state.lock();
        let running = &host_mut(&mut state, node).running;
        running.as_ref().is_some_and(|(running, _)| *running == run)
    }

    fn way(&self, from: NodeId, to: NodeId) -> Way {
        let state = self.state.lock();
        state.ways.get(&(from, to)).map_or(Way::Open, |way| way.0)
    }

    fn obstacle(&self, from: NodeId, to: NodeId) -> Option<Obstacle> {
        let mut state = self.state.lock();
        let cut = |from, to| match state.ways.get(&(from, to)) {
            Some((Way::Cut, since)) => Some(*since),
            _ => None,
        };
        // A stream is cut when either direction is.
        let since = cut(from, to).into_iter().chain(cut(to, from)).min();
        let host = host_mut(&mut state, to);
        let down = host.running.is_none().then_some(host.changed);
        let since = since.into_iter().chain(down).min()?;
        Some(if since.elapsed() >= NOTICED_AFTER {
            Obstacle::Noticed
        } else {
            Obstacle::Unnoticed
        })
    }

    /// How long a message is on its way; `None`: it gets lost.
    async fn travel(&self, from: NodeId, to: NodeId) -> Option<()> {
        let way = self.way(from, to);
        let milliseconds = match way {
            Way::Slow(most) => self.chance.within(1..most.max(2)),
            _ if self.chance.hits(20) => self.chance.within(5..60),
            _ => self.chance.within(0..3),
        };
        sleep(Duration::from_millis(milliseconds)).await;
        self.not_stalled(from).await;
        self.not_stalled(to).await;
        match self.way(from, to) {
            Way::Cut => None,
            Way::Lossy(per_mille) if self.chance.hits(per_mille) => None,
            _ => Some(()),
        }
    }

    async fn call(
        self: Arc<Self>,
        (from, run): (NodeId, u64),
        to: NodeId,
        call: Call,
        deadline: Instant,
    ) -> Result<reply::Body, PeerCallError> {
        let lost = |why| PeerCallError::Lost { node: to, why };
        self.not_stalled(from).await;
        if !self.is_running(from, run) {
            sleep_until(deadline).await;
            return Err(lost("the caller has died"));
        }
        match self.obstacle(from, to) {
            Some(Obstacle::Noticed) => {
                let why = "it is down";
                return Err(PeerCallError::NotSent { node: to, why });
            }
            Some(Obstacle::Unnoticed) => {
                sleep_until(deadline).await;
                return Err(lost("the deadline passed"));
            }
            None => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let is_write = matches!(call.body, request::Body::Write(_));
        let request = Request {
            id: 1,
            epoch: call.epoch.0,
            session: call.session_text(),
            deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            body: Some(call.body),
        };
        let bytes = Bytes::from(request.encode_to_vec());
        let twice = match self.way(from, to) {
            Way::Lossy(per_mille) => self.chance.hits(per_mille),
            _ => false,
        };
        let (number, answered) = self.wait_for_answer(from, to);
        // In a task of its own: what was sent arrives, whether the caller goes away or not.
        if is_write && twice {
            tokio::spawn(self.clone().carry_write_twice(from, to, bytes, number));
        } else {
            tokio::spawn(self.clone().carry(from, to, bytes.clone(), number));
            if twice {
                let network = self.clone();
                tokio::spawn(async move { network.deliver(from, to, bytes).await });
            }
        }
        let bytes = timeout_at(deadline, answered)
            .await
            .map_err(|_| lost("the deadline passed"))?
            .map_err(|_| lost("the connection broke"))?;
        let reply = Reply::decode(bytes).map_err(|_| lost("the reply is no reply"))?;
        reply.body.ok_or_else(|| lost("the reply is empty"))
    }

    /// Brings a request there and its answer back.
    async fn carry(self: Arc<Self>, from: NodeId, to: NodeId, bytes: Bytes, number: u64) {
        let reply = self.deliver(from, to, bytes).await;
        self.answer(from, to, number, reply);
    }

    /// Brings a write to the node that mints it, and once more, unless the caller hears a refusal. A stream over TCP carries
    /// what is sent once at most, and the promise of `rejected` rests on that: of two copies of which one
    /// is refused and the other carried out, the caller would hear either answer.
    async fn carry_write_twice(
        self: Arc<Self>,
        from: NodeId,
        to: NodeId,
        bytes: Bytes,
        number: u64,
    ) {
        let reply = self.deliver(from, to, bytes.clone()).await;
        let body = reply
            .clone()
            .and_then(|reply| Reply::decode(reply).ok()?.body);
        self.answer(from, to, number, reply);
        if matches!(body, None | Some(reply::Body::Write(_))) {
            self.deliver(from, to, bytes).await;
        }
    }

    fn answer(&self, from: NodeId, to: NodeId, number: u64, reply: Option<Bytes>) {
        let waiting = self.end_wait(from, to, number);
        if let (Some(reply), Some(waiting)) = (reply, waiting) {
            // Whoever asked may not wait any more.
            let _ = waiting.send(reply);
        }
    }

    async fn deliver(&self, from: NodeId, to: NodeId, bytes: Bytes) -> Option<Bytes> {
        let (sent, connection) = (Instant::now(), self.resets(from, to));
        self.travel(from, to).await?;
        if self.resets(from, to) != connection && self.chance.hits(500) {
            return None;
        }
        let raw = bytes.clone();
        let mut request = Request::decode(bytes).expect("what was encoded is decoded");
        // As a frame's age is taken off (`peer/frame_age.rs`).
        let took = u32::try_from(sent.elapsed().as_millis()).unwrap_or(u32::MAX);
        request.deadline_ms = request.deadline_ms.saturating_sub(took);
        let arrival = self.arrive(from, to, &request, &raw)?;
        let asked_under = annulus_ring::RingEpoch(request.epoch);
        let asked = request.clone();
        let handed_over = HandedOver::of(&request, &arrival.door);
        let mut reply = arrival.door.respond(request).await;
        self.report_hints(to, handed_over, &reply, &arrival.door);
        if !self.is_running(to, arrival.run) {
            return None;
        }
        if let Some(answer) = reply.body.as_ref().and_then(answer_of) {
            self.observer.served(&Served {
                node: to,
                asked_under,
                held: arrival.door.held_epoch(),
                is_admitted: arrival.door.answers_rightly(&asked),
                is_settled: arrival.door.gives_rightly(&asked),
                answer,
                is_damaged: arrival.damaged.is_some_and(|key| self.is_damaged(to, &key)),
                log_had_failed: arrival.log_had_failed,
            });
        }
        arrival.door.attach_newer_placement(&mut reply);
        self.travel(to, from).await?;
        Some(reply.encode_to_vec().into())
    }

    fn report_hints(&self, node: NodeId, handed_over: HandedOver, reply: &Reply, door: &Responder) {
        let Some(reply::Body::DeliverHints(delivered)) = &reply.body else {
            return;
        };
        // A wall clock may jump meanwhile: the earlier of two looks counts.
        let now_ms = handed_over.at_ms.min(door.wall_ms());
        for (written, outcome) in handed_over.written.into_iter().zip(delivered.outcomes()) {
            if let (Some(written), HintOutcome::Applied) = (written, outcome) {
                let age_ms = now_ms.saturating_sub(written.ms());
                self.observer.hint_taken(&HintTaken { node, age_ms });
            }
        }
    }

    fn is_damaged(&self, node: NodeId, key: &KeyRef) -> bool {
        let mut state = self.state.lock();
        let disk = &host_mut(&mut state, node).disk;
        disk.is_damaged(&key.keyspace, &key.key)
    }

    fn arrive(&self, from: NodeId, to: NodeId, request: &Request, raw: &[u8]) -> Option<Arrival> {
        let state = self.state.lock();
        let (sender, receiver) = (&state.hosts[&from], &state.hosts[&to]);
        let name = [from.0.as_bytes(), to.0.as_bytes(), raw].concat();
        self.trace.note_raw(&name, || {
            let (from, to) = (&sender.name, &receiver.name);
            let down = receiver.running.as_ref().map_or(" (down)", |_| "");
            format!("{from} -> {to} {}{down}", describe(request))
        });
        let (run, door) = receiver.running.clone()?;
        let damaged = |key: &&KeyRef| receiver.disk.is_damaged(&key.keyspace, &key.key);
        Some(Arrival {
            run,
            door,
            damaged: key_of(request).filter(damaged).cloned(),
            log_had_failed: receiver.disk.has_failed(),
        })
    }

    fn reachability(&self, from: NodeId, to: NodeId) -> Reachability {
        match self.obstacle(from, to) {
            Some(Obstacle::Noticed) => Reachability::Unreachable,
            Some(Obstacle::Unnoticed) | None => Reachability::Connected,
        }
    }
}

/// A request at its destination.
struct Arrival {
    run: u64,
    door: Responder,
    /// The key, if its record was damaged then.
    damaged: Option<KeyRef>,
    log_had_failed: bool,
}

/// When hints arrived by the receiver's wall clock, and when each was written; none that has no age.
struct HandedOver {
    at_ms: u64,
    written: Vec<Option<HlcStamp>>,
}

impl HandedOver {
    fn of(request: &Request, door: &Responder) -> Self {
        let hints = match &request.body {
            Some(request::Body::DeliverHints(delivered)) => &delivered.hints[..],
            _ => &[],
        };
        let written = |hint: &Hint| (!hint.sloppy).then_some(HlcStamp(hint.written));
        Self {
            at_ms: door.wall_ms(),
            written: hints.iter().map(written).collect(),
        }
    }
}

fn answer_of(reply: &reply::Body) -> Option<Answered> {
    let is_there = |there: bool| {
        if there {
            Answered::Present
        } else {
            Answered::Absent
        }
    };
    match reply {
        reply::Body::Read(read) => Some(is_there(read.state.is_some())),
        reply::Body::Digest(digest) => Some(is_there(digest.digest.is_some())),
        reply::Body::Merge(_) | reply::Body::KeepSloppy(_) => Some(Answered::Merged),
        reply::Body::DeliverHints(delivered) => {
            let mut outcomes = delivered.outcomes();
            let is_any = outcomes.any(|outcome| outcome == HintOutcome::Applied);
            is_any.then_some(Answered::Merged)
        }
        reply::Body::Write(_) => Some(Answered::Written),
        reply::Body::ScanStates(_) => Some(Answered::Page),
        _ => None,
    }
}

fn host_mut(state: &mut State, node: NodeId) -> &mut Host {
    let host = state.hosts.get_mut(&node);
    host.expect("only nodes of the simulation are in its placements")
}

fn kind_of(request: &Request) -> &'static str {
    match &request.body {
        Some(request::Body::Read(_)) => "read",
        Some(request::Body::Digest(_)) => "digest",
        Some(request::Body::Merge(_)) => "merge",
        Some(request::Body::Write(_)) => "write",
        Some(request::Body::InstallPlacement(_)) => "install",
        Some(request::Body::HintCredit(_)) => "ask leave for hints",
        Some(request::Body::DeliverHints(_)) => "deliver hints",
        Some(request::Body::SloppyRoom(_)) => "ask room for a sloppy write",
        Some(request::Body::KeepSloppy(_)) => "keep sloppy",
        Some(request::Body::Gossip(_)) => "gossip",
        Some(request::Body::Reach(_)) => "reach",
        Some(request::Body::ReadTree(_)) => "tree",
        Some(request::Body::ReadLeaves(_)) => "leaves",
        Some(request::Body::ConfirmTombstones(_)) => "confirm",
        Some(request::Body::RemoveTombstones(_)) => "remove",
        Some(request::Body::CountHints(_)) => "count",
        Some(request::Body::ScanStates(_)) => "scan",
        Some(request::Body::AskDisk(_)) => "ask about the disk",
        None => "nothing",
    }
}

/// The trace names one of several keys.
fn first(tombstones: &[Tombstone]) -> Option<&KeyRef> {
    tombstones.first()?.key.as_ref()
}

fn key_of(request: &Request) -> Option<&KeyRef> {
    match &request.body {
        Some(request::Body::Read(read)) => read.key.as_ref(),
        Some(request::Body::Digest(read)) => read.key.as_ref(),
        Some(request::Body::Merge(merge)) => merge.key.as_ref(),
        Some(request::Body::Write(write)) => write.key.as_ref(),
        Some(request::Body::KeepSloppy(kept)) => kept.key.as_ref(),
        Some(request::Body::ConfirmTombstones(confirm)) => first(&confirm.tombstones),
        Some(request::Body::RemoveTombstones(remove)) => first(&remove.tombstones),
        _ => None,
    }
}

fn describe(request: &Request) -> String {
    if let Some(request::Body::DeliverHints(delivered)) = &request.body {
        return describe_hints(request, delivered);
    }
    let key = key_of(request).map_or_else(String::new, |key| {
        format!(" {}/{}", key.keyspace, String::from_utf8_lossy(&key.key))
    });
    format!("{}{key} @{}", kind_of(request), request.epoch)
}

fn describe_hints(request: &Request, delivered: &DeliverHints) -> String {
    let mut text = String::from("deliver hints");
    for key in delivered.hints.iter().filter_map(|hint| hint.key.as_ref()) {
        let name = String::from_utf8_lossy(&key.key);
        text.extend([" ", &key.keyspace, "/", &name]);
    }
    format!("{text} @{}", request.epoch)
}

/// One run's way to the other nodes.
#[derive(Debug)]
pub(super) struct SimTransport {
    pub(super) network: Arc<Network>,
    pub(super) node: NodeId,
    pub(super) run: u64,
}

impl Transport for SimTransport {
    fn call(
        &self,
        to: NodeId,
        call: Call,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<reply::Body, PeerCallError>> {
        let network = self.network.clone();
        let (node, run) = (self.node, self.run);
        Box::pin(async move {
            let called = network.call((node, run), to, call, deadline);
            // A stalled sender must not outlast the deadline either.
            let why = "the deadline passed";
            let late = PeerCallError::Lost { node: to, why };
            timeout_at(deadline, called).await.unwrap_or(Err(late))
        })
    }

    fn reachability(&self, node: NodeId) -> Reachability {
        self.network.reachability(self.node, node)
    }

    fn reach(&self, node: NodeId, _deadline: Instant) -> BoxFuture<'static, bool> {
        let connected = self.reachability(node) == Reachability::Connected;
        Box::pin(async move { connected })
    }
}
