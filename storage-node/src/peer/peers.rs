//! What may be asked of a peer, in the node's own types; the epoch rules of the caller.
//!
//! - The callee's placement is newer: the newer one is installed here and the caller is told
//!   ([`PeerFailure::Stale`]); it starts over under the new placement, with the state it has.
//! - The callee's placement is older: it is handed ours and asked once more.

mod membership_calls;
mod tree;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_causality::KeyState;
use annulus_proto::model::{Key, KeyspaceName, RequestError, TimeToLive};
use annulus_proto::peer::v1::{
    AskDisk, InstallPlacement, Merge, MergeReason, PeerError, Read, ReadDigest, ScanStates, Write,
    reply, request,
};
use annulus_ring::{MoveId, NodeId, Placement, RingEpoch};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::forwarded_write::{ForwardedAnswer, ForwardedWrite};
use super::latency::Latencies;
use super::transport::{Call, PeerCallError, Reachability, Transport};
use super::wire;
use crate::clock::Clock;
use crate::disk_pace::DiskReport;
use crate::placement::PlacementStore;
use crate::replica::StatesPage;

/// Why a peer did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerFailure {
    /// It was not asked: nothing happened.
    #[error("{0}")]
    NotSent(String),
    /// It may have done it.
    #[error("{0}")]
    Lost(String),
    /// It refused or failed, and says which.
    #[error("{0}")]
    Refused(RequestError),
    /// It acts under a newer placement, of this epoch. A merge may have been applied, anything else not.
    #[error("the placement is older than epoch {0}, which the peer holds")]
    Stale(RingEpoch),
    /// It acts under an older placement and could not be brought up to date: nothing happened.
    #[error("the peer holds the older placement epoch {0}")]
    Behind(RingEpoch),
}

/// The other nodes. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    inner: Arc<Inner>,
    /// The move that whatever is asked belongs to.
    session: Option<MoveId>,
}

#[derive(Debug)]
struct Inner {
    transport: Arc<dyn Transport>,
    placement: PlacementStore,
    clock: Arc<dyn Clock>,
    latencies: Mutex<Latencies>,
    /// When each peer was last handed a placement.
    handed_over: Mutex<HashMap<NodeId, Arc<AsyncMutex<Option<Instant>>>>>,
}

impl Peers {
    /// Over a transport.
    pub(crate) fn new(
        transport: Arc<dyn Transport>,
        placement: PlacementStore,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (latencies, handed_over) = (Mutex::default(), Mutex::default());
        let inner = Arc::new(Inner {
            transport,
            placement,
            clock,
            latencies,
            handed_over,
        });
        let session = None;
        Self { inner, session }
    }

    /// The same nodes, asked for a move: they refuse once it is over.
    pub(crate) fn in_session(&self, session: MoveId) -> Self {
        Self {
            inner: self.inner.clone(),
            session: Some(session),
        }
    }

    /// A key's state; `None` when the peer has no record of it.
    pub(crate) async fn read(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        (keyspace, key): (&KeyspaceName, &Key),
        deadline: Instant,
    ) -> Result<Option<KeyState>, PeerFailure> {
        let body = request::Body::Read(Read {
            key: Some(wire::key_ref(keyspace, key)),
        });
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::Read(reply) => wire::read_state(reply.state.as_ref())
                .map_err(|error| PeerFailure::Lost(format!("node {to} sent a bad state: {error}"))),
            other => Err(unexpected(to, &other)),
        }
    }

    /// The digest of a key's state; `None` when the peer has no record of it.
    pub(crate) async fn digest(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        (keyspace, key): (&KeyspaceName, &Key),
        deadline: Instant,
    ) -> Result<Option<u64>, PeerFailure> {
        let body = request::Body::Digest(ReadDigest {
            key: Some(wire::key_ref(keyspace, key)),
        });
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::Digest(reply) => Ok(reply.digest),
            other => Err(unexpected(to, &other)),
        }
    }

    /// Merges a state (in causality's encoding) into the peer's; it is as durable there as the keyspace
    /// asks for once this succeeds.
    pub(crate) async fn merge(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        (keyspace, key): (&KeyspaceName, &Key),
        state: Bytes,
        reason: MergeReason,
        deadline: Instant,
    ) -> Result<(), PeerFailure> {
        let key = Some(wire::key_ref(keyspace, key));
        let body = request::Body::Merge(Merge {
            key,
            state,
            reason: reason.into(),
        });
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::Merge(_) => Ok(()),
            other => Err(unexpected(to, &other)),
        }
    }

    /// Has the peer, an owner, coordinate a write.
    pub(crate) async fn write(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        write: &ForwardedWrite,
        deadline: Instant,
    ) -> Result<ForwardedAnswer, PeerFailure> {
        let quorum = |count: usize| u32::try_from(count).expect("at most 255 owners");
        let body = request::Body::Write(Write {
            key: Some(wire::key_ref(&write.keyspace, &write.key)),
            value: write.value.clone(),
            clock: wire::clock(&write.context),
            ttl: write.ttl.map_or(0, TimeToLive::seconds),
            write_quorum: quorum(write.write_quorum),
            read_quorum: quorum(write.read_quorum),
            request_client: write.request_id.client,
            request_sequence: write.request_id.sequence,
            sloppy: write.sloppy,
        });
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::Write(reply) => Ok(ForwardedAnswer {
                clock: wire::read_clock(&reply.clock),
                version: reply.version,
                existed: reply.existed,
                sloppy: reply.sloppy,
            }),
            other => Err(unexpected(to, &other)),
        }
    }

    /// Some of the states that the peer, another owner, holds of a partition; nothing but who it is, for
    /// `limit_bytes` = 0.
    pub(crate) async fn states(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        question: ScanStates,
        deadline: Instant,
    ) -> Result<StatesPage, PeerFailure> {
        let body = request::Body::ScanStates(question);
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::ScanStates(reply) => wire::read_states(reply)
                .map_err(|error| PeerFailure::Lost(format!("node {to} sent a bad page: {error}"))),
            other => Err(unexpected(to, &other)),
        }
    }

    /// What the peer says of its disk.
    pub(crate) async fn disk_report(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        deadline: Instant,
    ) -> Result<DiskReport, PeerFailure> {
        let body = request::Body::AskDisk(AskDisk {});
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::Disk(reply) => Ok(wire::read_disk_report(reply)),
            other => Err(unexpected(to, &other)),
        }
    }

    /// Whether a stream to the peer stands, as far as is known.
    pub(crate) fn reachability(&self, peer: NodeId) -> Reachability {
        self.inner.transport.reachability(peer)
    }

    /// Waits for a first attempt to connect to end. Whether it succeeded.
    pub(crate) async fn reach(&self, peer: NodeId, deadline: Instant) -> bool {
        self.inner.transport.reach(peer, deadline).await
    }

    /// How long the peer usually takes.
    pub(crate) fn usual_latency(&self, peer: NodeId) -> Duration {
        self.inner.latencies.lock().mean(peer)
    }

    /// The time within which 95 of 100 of the peer's answers come.
    pub(crate) fn late_after(&self, peer: NodeId) -> Duration {
        self.inner.latencies.lock().p95(peer)
    }

    pub(super) async fn ask(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        body: request::Body,
        deadline: Instant,
    ) -> Result<reply::Body, PeerFailure> {
        let asked_at = self.inner.clock.now();
        let session = self.session;
        let call = Call {
            epoch,
            session,
            body,
        };
        let first = self.ask_once(to, call.clone(), deadline).await;
        let Err(PeerFailure::Behind(held)) = first else {
            return first;
        };
        if !self.hand_over_placement(to, asked_at, deadline).await {
            return Err(PeerFailure::Behind(held));
        }
        self.ask_once(to, call, deadline).await
    }

    async fn ask_once(
        &self,
        to: NodeId,
        call: Call,
        deadline: Instant,
    ) -> Result<reply::Body, PeerFailure> {
        let measured = matches!(
            call.body,
            request::Body::Read(_) | request::Body::Digest(_) | request::Body::Merge(_)
        );
        let asked_at = self.inner.clock.now();
        let answer = self.inner.transport.call(to, call, deadline).await;
        // Waiting in vain is a sample too: a peer that hangs must not look fast. A forwarded write
        // takes as long as others let it, a page of states as long as it is, hints come in heaps, and trees
        // are read when there is time.
        if measured && !matches!(answer, Err(PeerCallError::NotSent { .. })) {
            self.inner.latencies.lock().add(
                to,
                self.inner.clock.now().saturating_duration_since(asked_at),
            );
        }
        match answer {
            Ok(reply::Body::Error(error)) => Err(self.refused(error).await),
            Ok(body) => Ok(body),
            Err(error @ PeerCallError::NotSent { .. }) => {
                Err(PeerFailure::NotSent(error.to_string()))
            }
            Err(error @ PeerCallError::Lost { .. }) => Err(PeerFailure::Lost(error.to_string())),
        }
    }

    async fn refused(&self, error: PeerError) -> PeerFailure {
        let held = RingEpoch(error.callee_epoch);
        match error.code.as_str() {
            "stale_epoch" => {
                self.learn_placement(error).await;
                PeerFailure::Stale(held)
            }
            "behind" => PeerFailure::Behind(held),
            _ => PeerFailure::Refused(wire::read_peer_error(error)),
        }
    }

    /// Installs the newer placement that came with a refusal.
    async fn learn_placement(&self, error: PeerError) {
        let Some(newer) = error.newer else {
            return; // an earlier refusal carries it; the caller waits for that, and asks again
        };
        match Placement::try_from(newer) {
            Ok(newer) => {
                // An older one than ours is no fault: somebody was quicker.
                if let Err(error) = self.inner.placement.install(newer).await {
                    tracing::debug!(%error, "placement from a peer not installed");
                }
            }
            Err(error) => tracing::warn!(%error, "peer sent an invalid placement"),
        }
    }

    /// Hands our placement to a peer that lacks it, once for all the calls that find out at the same
    /// time. Whether it has it now.
    async fn hand_over_placement(&self, to: NodeId, asked_at: Instant, deadline: Instant) -> bool {
        let last = self.inner.handed_over.lock().entry(to).or_default().clone();
        let mut last = last.lock().await;
        if last.is_some_and(|last| last >= asked_at) {
            return true;
        }
        let Some(placement) = self.inner.placement.current() else {
            return false;
        };
        let message = InstallPlacement {
            placement: Some((&*placement).into()),
        };
        let call = Call {
            epoch: placement.epoch(),
            session: None,
            body: request::Body::InstallPlacement(message),
        };
        match self.inner.transport.call(to, call, deadline).await {
            Ok(reply::Body::InstallPlacement(_)) => {
                *last = Some(self.inner.clock.now());
                true
            }
            Ok(reply::Body::Error(error)) => {
                tracing::warn!(peer = %to, error = error.message, "peer refused the placement");
                false
            }
            Ok(_) | Err(_) => false,
        }
    }
}

pub(super) fn unexpected(to: NodeId, body: &reply::Body) -> PeerFailure {
    let kind = match body {
        reply::Body::Read(_) => "read",
        reply::Body::Digest(_) => "digest",
        reply::Body::Merge(_) => "merge",
        reply::Body::Write(_) => "write",
        reply::Body::InstallPlacement(_) => "install_placement",
        reply::Body::HintCredit(_) => "hint_credit",
        reply::Body::DeliverHints(_) => "deliver_hints",
        reply::Body::SloppyRoom(_) => "sloppy_room",
        reply::Body::KeepSloppy(_) => "keep_sloppy",
        reply::Body::Gossip(_) => "gossip",
        reply::Body::Reach(_) => "reach",
        reply::Body::Tombstones(_) => "tombstones",
        reply::Body::CountHints(_) => "count_hints",
        reply::Body::ScanStates(_) => "scan_states",
        reply::Body::Disk(_) => "disk",
        reply::Body::Error(_) => "error",
        reply::Body::Tree(_) => "tree",
        reply::Body::Leaves(_) => "leaves",
    };
    PeerFailure::Lost(format!("node {to} answered another question ({kind})"))
}
