//! The requests of one link: queued, in flight, answered.
//!
//! Invariants: a request is in exactly one of the queue and the table of those in flight until it is
//! answered, failed or given up; it moves to the table in the same step that hands it to the stream,
//! so "still in the queue" proves that it never left. Requests of an ended session are never answered
//! by a later one.
//!
//! Bounds: [`MAX_CALLS`] requests and [`MAX_CALL_BYTES`] in the queue and in flight together, for each
//! peer; more are refused at once.
//!
//! Leaves to others: the stream itself ([`super::link`]).

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll, Waker};

use annulus_proto::peer::v1::{Request, RequestFrame, Tombstone, reply, request};
use annulus_ring::NodeId;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::transport::{Call, PeerCallError, Reachability};
use super::wire;
use crate::watched::Watched;

/// Requests queued and in flight to one peer.
pub(super) const MAX_CALLS: usize = 4096;

/// Bytes of the requests queued and in flight to one peer.
const MAX_CALL_BYTES: usize = 64 << 20;

/// Requests in one frame.
const MAX_FRAME_REQUESTS: usize = 256;

/// Bytes of the requests in one frame, unless a single one is larger.
const MAX_FRAME_BYTES: usize = 1 << 20;

/// What a request takes beside its key and value, roughly.
const REQUEST_OVERHEAD_BYTES: usize = 64;

type Answer = Result<reply::Body, PeerCallError>;

struct Queued {
    id: u64,
    call: Call,
    bytes: usize,
    deadline: Instant,
    answer: oneshot::Sender<Answer>,
}

struct InFlight {
    bytes: usize,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct State {
    /// Number of the session that may carry requests; 0: none.
    open_session: u64,
    last_session: u64,
    /// This session and all before it are over.
    ended_session: u64,
    last_id: u64,
    queue: VecDeque<Queued>,
    in_flight: BTreeMap<u64, InFlight>,
    bytes: usize,
    stream: Option<Waker>,
}

/// The requests of one link.
pub(super) struct Outbox {
    peer: NodeId,
    state: Mutex<State>,
    reachability: Watched<Reachability>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) id: u64,
    pub(super) answer: oneshot::Receiver<Answer>,
}

impl Outbox {
    /// Of a peer to which a first attempt to connect is about to be made.
    pub(super) fn new(peer: NodeId) -> Self {
        Self {
            peer,
            state: Mutex::default(),
            reachability: Watched::new(Reachability::Connecting),
        }
    }

    pub(super) fn reachability(&self) -> &Watched<Reachability> {
        &self.reachability
    }

    /// Queues a request.
    pub(super) fn enqueue(&self, call: Call, deadline: Instant) -> Result<Ticket, PeerCallError> {
        let bytes = size_of(&call.body);
        let mut state = self.state.lock();
        // Under the lock, so that no request slips in behind `close`.
        if self.reachability.get() == Reachability::Unreachable {
            return Err(self.not_sent("it can't be reached"));
        }
        let calls = state.queue.len() + state.in_flight.len();
        if calls >= MAX_CALLS || state.bytes + bytes > MAX_CALL_BYTES {
            return Err(self.not_sent("too many requests to it wait for an answer"));
        }
        let (sender, answer) = oneshot::channel();
        state.last_id += 1;
        let id = state.last_id;
        state.bytes += bytes;
        state.queue.push_back(Queued {
            id,
            call,
            bytes,
            deadline,
            answer: sender,
        });
        let stream = state.stream.take();
        drop(state);
        if let Some(stream) = stream {
            stream.wake();
        }
        Ok(Ticket { id, answer })
    }

    /// Forgets a request whose caller waits no more, and says what may have become of it.
    pub(super) fn give_up(&self, id: u64, why: &'static str) -> PeerCallError {
        let mut state = self.state.lock();
        if let Some(place) = state.queue.iter().position(|queued| queued.id == id) {
            state.bytes -= state.queue.remove(place).map_or(0, |queued| queued.bytes);
            return self.not_sent(why);
        }
        state.bytes -= state
            .in_flight
            .remove(&id)
            .map_or(0, |in_flight| in_flight.bytes);
        self.lost(why)
    }

    /// Begins a session; it carries nothing before [`Self::open`].
    pub(super) fn begin_session(&self) -> u64 {
        let mut state = self.state.lock();
        state.last_session += 1;
        state.last_session
    }

    /// The peer greeted back: the session carries requests from now on.
    pub(super) fn open(&self, session: u64) {
        let mut state = self.state.lock();
        state.open_session = session;
        self.reachability.set(Reachability::Connected);
        if let Some(stream) = state.stream.take() {
            stream.wake();
        }
    }

    /// The session, or the attempt at one, ended. What it carried is lost; what waits is kept when
    /// another attempt follows at once, else given back.
    pub(super) fn close(&self, why: &'static str, next: Reachability) {
        let mut state = self.state.lock();
        state.open_session = 0;
        state.ended_session = state.last_session;
        self.reachability.set(next);
        let lost = std::mem::take(&mut state.in_flight).into_values();
        let lost: Vec<InFlight> = lost.collect();
        let unsent: Vec<Queued> = match next {
            Reachability::Unreachable => state.queue.drain(..).collect(),
            Reachability::Connected | Reachability::Connecting => Vec::new(),
        };
        let gone = lost
            .iter()
            .map(|call| call.bytes)
            .chain(unsent.iter().map(|call| call.bytes));
        state.bytes -= gone.sum::<usize>();
        let stream = state.stream.take();
        drop(state);
        // Nobody listening any more is fine: the caller gave up.
        for call in lost {
            let _ = call.answer.send(Err(self.lost(why)));
        }
        for call in unsent {
            let _ = call.answer.send(Err(self.not_sent(why)));
        }
        if let Some(stream) = stream {
            stream.wake();
        }
    }

    /// An answer came.
    pub(super) fn answered(&self, id: u64, body: reply::Body) {
        let mut state = self.state.lock();
        let Some(call) = state.in_flight.remove(&id) else {
            return; // the caller gave up
        };
        state.bytes -= call.bytes;
        drop(state);
        let _ = call.answer.send(Ok(body)); // the caller may give up just now
    }

    /// The next frame of a session: whatever is queued, up to the bounds of a frame. `None` once the
    /// session is over.
    pub(super) fn poll_frame(
        &self,
        session: u64,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Poll<Option<RequestFrame>> {
        let mut state = self.state.lock();
        if state.last_session != session || state.ended_session >= session {
            return Poll::Ready(None);
        }
        if state.open_session == session {
            let requests = self.take_batch(&mut state, now);
            if !requests.is_empty() {
                return Poll::Ready(Some(RequestFrame {
                    requests,
                    ..RequestFrame::default()
                }));
            }
        }
        state.stream = Some(context.waker().clone());
        Poll::Pending
    }

    fn take_batch(&self, state: &mut State, now: Instant) -> Vec<Request> {
        let mut requests = Vec::new();
        let mut bytes = 0;
        while let Some(next) = state.queue.front() {
            let fits = requests.is_empty() || bytes + next.bytes <= MAX_FRAME_BYTES;
            if requests.len() == MAX_FRAME_REQUESTS || !fits {
                break;
            }
            let Some(Queued {
                id,
                call,
                bytes: size,
                deadline,
                answer,
            }) = state.queue.pop_front()
            else {
                break;
            };
            if answer.is_closed() || deadline <= now {
                state.bytes -= size;
                let _ = answer.send(Err(self.not_sent("the deadline passed before its turn")));
                continue;
            }
            let left = wire::milliseconds(deadline - now);
            requests.push(Request {
                id,
                epoch: call.epoch.0,
                session: call.session_text(),
                deadline_ms: u32::try_from(left).unwrap_or(u32::MAX),
                body: Some(call.body),
            });
            bytes += size;
            state.in_flight.insert(
                id,
                InFlight {
                    bytes: size,
                    answer,
                },
            );
        }
        requests
    }

    fn not_sent(&self, why: &'static str) -> PeerCallError {
        PeerCallError::NotSent {
            node: self.peer,
            why,
        }
    }

    fn lost(&self, why: &'static str) -> PeerCallError {
        PeerCallError::Lost {
            node: self.peer,
            why,
        }
    }
}

fn size_of(body: &request::Body) -> usize {
    let content = match body {
        request::Body::Merge(merge) => merge.state.len(),
        request::Body::Write(write) => write.value.as_ref().map_or(0, bytes::Bytes::len),
        request::Body::DeliverHints(delivered) => {
            delivered.hints.iter().map(|hint| hint.state.len()).sum()
        }
        request::Body::KeepSloppy(kept) => kept.state.len(),
        // Of gossip a few small rumors at most.
        request::Body::ReadTree(read) => 4 * read.blocks.len(),
        request::Body::ReadLeaves(read) => 4 * read.leaves.len(),
        request::Body::ConfirmTombstones(confirm) => tombstones(&confirm.tombstones),
        request::Body::RemoveTombstones(remove) => tombstones(&remove.tombstones),
        request::Body::InstallPlacement(_)
        | request::Body::Read(_)
        | request::Body::Digest(_)
        | request::Body::HintCredit(_)
        | request::Body::SloppyRoom(_)
        | request::Body::CountHints(_)
        | request::Body::Gossip(_)
        | request::Body::Reach(_)
        | request::Body::ScanStates(_)
        | request::Body::AskDisk(_) => 0,
    };
    content + REQUEST_OVERHEAD_BYTES
}

fn tombstones(named: &[Tombstone]) -> usize {
    let key = |named: &Tombstone| named.key.as_ref().map_or(0, |key| key.key.len());
    named
        .iter()
        .map(|named| REQUEST_OVERHEAD_BYTES + key(named))
        .sum()
}

#[cfg(test)]
#[path = "outbox_test.rs"]
mod tests;
