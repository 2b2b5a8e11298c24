//! The network between the nodes of a simulation.
//!
//! Requests travel in their encoded form, each on its own, so they overtake one another. A way can
//! be slow, lossy, or cut in one direction; a request can come twice; the answer can get lost. A
//! node that is down or cut off is noticed after a while, as the real transport does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_proto::peer::v1::{Reply, Request, reply, request};
use annulus_ring::NodeId;
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::chance::Chance;
use super::observer::{Observer, Served};
use super::trace::Trace;
use crate::peer::{Call, PeerCallError, Reachability, Responder, Transport};

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
}

struct Host {
    name: String,
    /// The present run and its door; `None`: it is down.
    running: Option<(u64, Responder)>,
    runs: u64,
    changed: Instant,
    stalled: watch::Sender<bool>,
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

    pub(super) fn add(&self, node: NodeId, name: &str) {
        let host = Host {
            name: name.to_owned(),
            running: None,
            runs: 0,
            changed: Instant::now(),
            stalled: watch::Sender::new(false),
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
        host_mut(&mut state, node).stalled.send_replace(stalled);
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

    /// Opens all ways.
    pub fn open_all(&self) {
        self.state.lock().ways.clear();
    }

    /// Waits until the node does not stall.
    pub(super) async fn not_stalled(&self, node: NodeId) {
        let mut stalled = {
            let mut state = self.state.lock();
            host_mut(&mut state, node).stalled.subscribe()
        };
        // The sender lives as long as the network; without it nobody waits any more.
        let _ = stalled.wait_for(|stalled| !stalled).await;
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
        let request = Request {
            id: 1,
            epoch: call.epoch.0,
            deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            body: Some(call.body),
        };
        let bytes = Bytes::from(request.encode_to_vec());
        let twice = match self.way(from, to) {
            Way::Lossy(per_mille) => self.chance.hits(per_mille),
            _ => false,
        };
        let (answer, answered) = oneshot::channel();
        // In a task of its own: what was sent arrives, whether the caller goes away or not.
        tokio::spawn(self.clone().deliver(from, to, bytes.clone(), Some(answer)));
        if twice {
            tokio::spawn(self.clone().deliver(from, to, bytes, None));
        }
        let bytes = timeout_at(deadline, answered)
            .await
            .map_err(|_| lost("the deadline passed"))?
            .map_err(|_| lost("the connection broke"))?;
        let reply = Reply::decode(bytes).map_err(|_| lost("the reply is no reply"))?;
        reply.body.ok_or_else(|| lost("the reply is empty"))
    }

    async fn deliver(
        self: Arc<Self>,
        from: NodeId,
        to: NodeId,
        bytes: Bytes,
        answer: Option<oneshot::Sender<Bytes>>,
    ) {
        if self.travel(from, to).await.is_none() {
            return;
        }
        let request = Request::decode(bytes).expect("what was encoded is decoded");
        let Some((run, door)) = self.arrive(from, to, &request) else {
            return;
        };
        let kind = kind_of(&request);
        let asked_under = annulus_ring::RingEpoch(request.epoch);
        let mut reply = door.respond(request).await;
        let refused = matches!(reply.body, Some(reply::Body::Error(_)) | None);
        if !refused && matches!(kind, "read" | "digest" | "merge") {
            self.observer.served(&Served {
                node: to,
                asked_under,
                held: door.held_epoch(),
            });
        }
        door.attach_newer_placement(&mut reply);
        if !self.is_running(to, run) || self.travel(to, from).await.is_none() {
            return;
        }
        if let Some(answer) = answer {
            // Whoever asked may not wait any more.
            let _ = answer.send(reply.encode_to_vec().into());
        }
    }

    fn arrive(&self, from: NodeId, to: NodeId, request: &Request) -> Option<(u64, Responder)> {
        let state = self.state.lock();
        let (sender, receiver) = (&state.hosts[&from], &state.hosts[&to]);
        let door = receiver.running.clone();
        self.trace.note(format_args!(
            "{} -> {} {}{}",
            sender.name,
            receiver.name,
            describe(request),
            if door.is_some() { "" } else { " (down)" },
        ));
        door
    }

    fn reachability(&self, from: NodeId, to: NodeId) -> Reachability {
        match self.obstacle(from, to) {
            Some(Obstacle::Noticed) => Reachability::Unreachable,
            Some(Obstacle::Unnoticed) | None => Reachability::Connected,
        }
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
        None => "nothing",
    }
}

fn describe(request: &Request) -> String {
    let key = match &request.body {
        Some(request::Body::Read(read)) => read.key.as_ref(),
        Some(request::Body::Digest(read)) => read.key.as_ref(),
        Some(request::Body::Merge(merge)) => merge.key.as_ref(),
        Some(request::Body::Write(write)) => write.key.as_ref(),
        _ => None,
    };
    let key = key.map_or_else(String::new, |key| {
        format!(" {}/{}", key.keyspace, String::from_utf8_lossy(&key.key))
    });
    format!("{}{key} @{}", kind_of(request), request.epoch)
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
