//! Answers one request of a peer; the epoch rules of the callee.
//!
//! A request is acted on only when both sides act under the same epoch, checked before and after: a
//! caller with an older placement is refused with ours, a caller with a newer one is asked for it.
//! The replica checks the partition's fence once more around each merge.

mod tree;

use std::sync::Arc;
use std::time::Duration;

use annulus_causality::{KeyState, RequestId};
use annulus_proto::model::{ErrorCode, FieldRefused, RequestError, TimeToLive};
use annulus_proto::peer::v1::{
    DigestReply, Gossip, InstallPlacement, InstallPlacementReply, KeyRef, Merge, MergeReason,
    MergeReply, PeerError, Reach, ReachReply, ReadReply, Reply, Request, ScanStates, Write,
    WriteReply, reply, request,
};
use annulus_ring::{Placement, RingEpoch};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::forwarded_write::ForwardedWrite;
use super::wire;
use crate::clock::Clock;
use crate::coordinator::Coordinator;
use crate::disk_pace::DiskStanding;
use crate::hints::Hints;
use crate::keyspace::Keyspaces;
use crate::membership::Membership;
use crate::mistake::{self, Mistake};
use crate::placement::{InstallError, PlacementRefused, PlacementStore};
use crate::replica::{KeyAddress, Merge as ReplicaMerge, Replica, ReplicaError};

/// Writes that this node coordinates at a time on behalf of other nodes; more are refused at once.
/// They wait for other nodes themselves, so they must never hold up the merges that others wait for.
const MAX_FORWARDED_WRITES: usize = 2048;

/// The most that one page of states takes, whatever the caller asks for, unless a single state is larger.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// What is advised to a caller that came when there were too many.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Answers peers. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Responder(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    placement: PlacementStore,
    keyspaces: Arc<Keyspaces>,
    pub(super) replica: Replica,
    coordinator: Coordinator,
    hints: Hints,
    membership: Membership,
    disks: DiskStanding,
    clock: Arc<dyn Clock>,
    forwarded_writes: Semaphore,
    tree_reads: Semaphore,
}

impl Responder {
    /// For a node made of these parts.
    pub(crate) fn new(
        placement: PlacementStore,
        keyspaces: Arc<Keyspaces>,
        replica: Replica,
        coordinator: Coordinator,
        hints: Hints,
        (membership, disks): (Membership, DiskStanding),
        clock: Arc<dyn Clock>,
    ) -> Self {
        let forwarded_writes = Semaphore::new(MAX_FORWARDED_WRITES);
        let tree_reads = Semaphore::new(tree::MAX_TREE_READS);
        let inner = Inner {
            placement,
            keyspaces,
            replica,
            coordinator,
            hints,
            membership,
            disks,
            clock,
            forwarded_writes,
            tree_reads,
        };
        Self(Arc::new(inner))
    }

    pub(super) fn placement(&self) -> &PlacementStore {
        &self.0.placement
    }

    pub(super) fn hints(&self) -> &Hints {
        &self.0.hints
    }

    /// This node's wall clock.
    #[cfg(feature = "simulation")]
    pub(crate) fn wall_ms(&self) -> u64 {
        self.0.clock.wall_ms()
    }

    /// The epoch that this node holds.
    #[cfg(feature = "simulation")]
    pub(crate) fn held_epoch(&self) -> Option<RingEpoch> {
        Some(self.0.placement.current()?.epoch())
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.0.clock.as_ref()
    }

    /// Answers one request, at the latest at its deadline.
    pub(crate) async fn respond(&self, request: Request) -> Reply {
        let deadline = self.0.clock.now() + Duration::from_millis(request.deadline_ms.into());
        let epoch = RingEpoch(request.epoch);
        let answer = match request.body {
            Some(request::Body::InstallPlacement(install)) => self.install(install).await,
            Some(request::Body::Gossip(gossip)) => self.gossip(&gossip),
            Some(request::Body::Reach(reach)) => self.reach(&reach, deadline).await,
            Some(body) => self.act(body, epoch, deadline).await,
            None => Err(refused(FieldRefused::invalid(
                "body",
                "is missing or not known here",
            ))),
        };
        let body = answer.unwrap_or_else(|error| reply::Body::Error(*error));
        Reply {
            id: request.id,
            body: Some(body),
        }
    }

    async fn act(
        &self,
        body: request::Body,
        epoch: RingEpoch,
        deadline: Instant,
    ) -> Result<reply::Body, Box<PeerError>> {
        let placement = self.same_epoch(epoch)?;
        let fenced = !matches!(body, request::Body::Write(_));
        let answer = match body {
            request::Body::Read(read) => self.read(read.key, &placement, deadline).await,
            request::Body::Digest(read) => self.digest(read.key, &placement, deadline).await,
            request::Body::Merge(merge) => self.merge(merge, &placement, deadline).await,
            request::Body::Write(write) => self.write(write, &placement, deadline).await,
            request::Body::HintCredit(asked) => Ok(self.hint_credit(asked)),
            request::Body::DeliverHints(hints) => {
                self.deliver_hints(hints, &placement, deadline).await
            }
            request::Body::SloppyRoom(asked) => Ok(self.sloppy_room(asked)),
            request::Body::KeepSloppy(kept) => self.keep_sloppy(kept, &placement, deadline).await,
            request::Body::ReadTree(read) => self.read_tree(read, deadline).await,
            request::Body::ReadLeaves(read) => self.read_leaves(read, &placement, deadline).await,
            request::Body::ScanStates(scan) => self.scan_states(scan, deadline).await,
            request::Body::AskDisk(_) => {
                Ok(reply::Body::Disk(wire::disk_report(self.0.disks.own())))
            }
            request::Body::InstallPlacement(install) => return self.install(install).await,
            request::Body::Gossip(gossip) => return self.gossip(&gossip),
            request::Body::Reach(reach) => return self.reach(&reach, deadline).await,
            request::Body::ConfirmTombstones(confirm) => {
                self.confirm_tombstones(confirm, &placement, deadline).await
            }
            request::Body::RemoveTombstones(remove) => {
                self.remove_tombstones(remove, &placement, deadline).await
            }
            request::Body::CountHints(count) => self.count_hints(count),
        };
        if fenced && !mistake::is_made(Mistake::FenceOnlyBefore) {
            self.same_epoch(epoch)?;
        }
        answer.map_err(|error| Box::new(wire::peer_error(&error)))
    }

    /// The placement of that epoch, if it is the one in use.
    fn same_epoch(&self, epoch: RingEpoch) -> Result<Arc<Placement>, Box<PeerError>> {
        let held = self.0.placement.current();
        let held_epoch = held
            .as_ref()
            .map_or(RingEpoch(0), |placement| placement.epoch());
        let (code, message) = match held {
            Some(held) if held_epoch == epoch => return Ok(held),
            Some(_) if held_epoch > epoch => (
                ErrorCode::StaleEpoch,
                format!("placement epoch {epoch} is old, this node holds {held_epoch}"),
            ),
            _ => (
                ErrorCode::Behind,
                format!("this node holds placement epoch {held_epoch}, not yet {epoch}"),
            ),
        };
        let error = wire::peer_error(&RequestError::unknown(code, message));
        Err(Box::new(PeerError {
            callee_epoch: held_epoch.0,
            ..error
        }))
    }

    /// Adds this node's placement to the refusal of a caller that holds an older one. It may be large,
    /// and when an epoch begins many requests are refused at once: the caller of this says how often.
    pub(crate) fn attach_newer_placement(&self, reply: &mut Reply) -> bool {
        match (&mut reply.body, self.0.placement.current()) {
            (Some(reply::Body::Error(error)), Some(placement))
                if error.code == ErrorCode::StaleEpoch.as_str() =>
            {
                error.newer = Some((&*placement).into());
                true
            }
            _ => false,
        }
    }

    async fn read(
        &self,
        key: Option<KeyRef>,
        placement: &Placement,
        deadline: Instant,
    ) -> Result<reply::Body, RequestError> {
        let address = self.address(key, placement)?;
        let state = in_time(deadline, self.0.replica.read(&address)).await??;
        let state = state.as_ref().map(KeyState::encode);
        Ok(reply::Body::Read(ReadReply { state }))
    }

    async fn digest(
        &self,
        key: Option<KeyRef>,
        placement: &Placement,
        deadline: Instant,
    ) -> Result<reply::Body, RequestError> {
        let address = self.address(key, placement)?;
        let digest = in_time(deadline, self.0.replica.digest(&address)).await??;
        Ok(reply::Body::Digest(DigestReply { digest }))
    }

    async fn merge(
        &self,
        merge: Merge,
        placement: &Placement,
        deadline: Instant,
    ) -> Result<reply::Body, RequestError> {
        let is_background = merge.reason() == MergeReason::AntiEntropy;
        let address = self.address(merge.key, placement)?;
        let state = KeyState::decode(&merge.state)
            .map_err(|error| FieldRefused::invalid("state", error.to_string()))?;
        let can_wait = is_background && state.value_bytes() > 0;
        if can_wait && !self.0.replica.has_room_for_background() {
            return Err(ReplicaError::DiskFull.into());
        }
        let merge = ReplicaMerge {
            address,
            state,
            deadline,
            fence: placement.epoch(),
        };
        let merged = self.0.replica.merge(merge).await?;
        let reply = MergeReply {
            changed: merged.changed,
            differs: merged.differs,
        };
        Ok(reply::Body::Merge(reply))
    }

    async fn write(
        &self,
        write: Write,
        placement: &Arc<Placement>,
        deadline: Instant,
    ) -> Result<reply::Body, RequestError> {
        let Ok(_permit) = self.0.forwarded_writes.try_acquire() else {
            let message =
                format!("{MAX_FORWARDED_WRITES} writes of other nodes are under way here");
            return Err(RequestError::overloaded(message, RETRY_AFTER));
        };
        let owners = usize::from(placement.replication_factor().get());
        let (keyspace, key) = wire::read_key_ref(write.key)?;
        let ttl = i64::try_from(write.ttl).unwrap_or(i64::MAX);
        let write = ForwardedWrite {
            keyspace,
            key,
            value: write.value,
            context: wire::read_clock(&write.clock),
            ttl: (ttl != 0)
                .then(|| TimeToLive::from_seconds(ttl))
                .transpose()?,
            write_quorum: quorum("write_quorum", write.write_quorum, owners)?,
            read_quorum: quorum("read_quorum", write.read_quorum, owners)?,
            request_id: RequestId {
                client: write.request_client,
                sequence: write.request_sequence,
            },
            sloppy: write.sloppy,
        };
        let answer = self.0.coordinator.write_for_peer(write, deadline).await?;
        Ok(reply::Body::Write(WriteReply {
            clock: wire::clock(&answer.clock),
            version: answer.version,
            existed: answer.existed,
            sloppy: answer.sloppy,
        }))
    }

    async fn scan_states(
        &self,
        scan: ScanStates,
        deadline: Instant,
    ) -> Result<reply::Body, RequestError> {
        let partition = wire::read_partition(scan.partition)?;
        let after = Some(scan.after).filter(|after| !after.is_empty());
        let bytes = usize::try_from(scan.limit_bytes).unwrap_or(usize::MAX);
        let bytes = bytes.min(MAX_PAGE_BYTES);
        let states = self.0.replica.states(partition, after, bytes);
        let page = in_time(deadline, states).await??;
        Ok(reply::Body::ScanStates(wire::states(page)))
    }

    async fn install(&self, install: InstallPlacement) -> Result<reply::Body, Box<PeerError>> {
        let offered = install
            .placement
            .ok_or_else(|| refused(FieldRefused::invalid("placement", "is missing")))?;
        let offered = Placement::try_from(offered)
            .map_err(|error| refused(FieldRefused::invalid("placement", error.to_string())))?;
        let epoch = match self.0.placement.install(offered).await {
            Ok(installed) => installed.epoch,
            // The caller wants this node to be at least as new as that, and it is.
            Err(InstallError::Refused(PlacementRefused::Older { held, .. })) => held,
            Err(error) => {
                let code = match error {
                    InstallError::Refused(_) => ErrorCode::InvalidArgument,
                    _ => ErrorCode::Unavailable,
                };
                return Err(Box::new(wire::peer_error(&RequestError::unknown(
                    code,
                    error.to_string(),
                ))));
            }
        };
        Ok(reply::Body::InstallPlacement(InstallPlacementReply {
            epoch: epoch.0,
        }))
    }

    fn gossip(&self, gossip: &Gossip) -> Result<reply::Body, Box<PeerError>> {
        let reply = self.0.membership.told(gossip).map_err(refused)?;
        Ok(reply::Body::Gossip(reply))
    }

    async fn reach(&self, reach: &Reach, deadline: Instant) -> Result<reply::Body, Box<PeerError>> {
        let tried = self.0.membership.reach(reach, deadline).await;
        let reached = tried.map_err(|error| Box::new(wire::peer_error(&error)))?;
        Ok(reply::Body::Reach(ReachReply { reached }))
    }

    pub(super) fn address(
        &self,
        key: Option<KeyRef>,
        placement: &Placement,
    ) -> Result<KeyAddress, RequestError> {
        let (keyspace, key) = wire::read_key_ref(key)?;
        let keyspace = self.0.keyspaces.get(&keyspace)?.clone();
        Ok(KeyAddress::of(placement, keyspace, key))
    }
}

fn quorum(field: &'static str, count: u32, owners: usize) -> Result<usize, FieldRefused> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if (1..=owners).contains(&count) {
        Ok(count)
    } else {
        Err(FieldRefused::invalid(
            field,
            format!("is {count}; there are {owners} owners"),
        ))
    }
}

fn refused(field: FieldRefused) -> Box<PeerError> {
    Box::new(wire::peer_error(&field.into()))
}

/// For reads alone: nothing happens by them, so late means rejected.
async fn in_time<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, RequestError> {
    timeout_at(deadline, work).await.map_err(|_| {
        RequestError::rejected(
            ErrorCode::Timeout,
            "the replica did not read within the deadline",
        )
    })
}
