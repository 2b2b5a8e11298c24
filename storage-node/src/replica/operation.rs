//! What can be asked of a replica, and the answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use annulus_causality::{KeyState, RequestId, VersionVector, VnodeId};
use annulus_proto::model::{Key, KeyspaceName, TimeToLive};
use annulus_ring::{MoveId, PartitionId, RingEpoch};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::address::KeyAddress;
use super::error::ReplicaError;
use super::rebuilding::Rebuilding;
use super::vnode::Vnode;

/// A partition of which this node holds a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The partition.
    pub partition: PartitionId,
    /// What was admitted under an older epoch is refused.
    pub fence: RingEpoch,
    /// The move by which this node is about to become an owner: the copy begins empty with it.
    pub joins: Option<MoveId>,
}

impl Held {
    /// Held by an owner, fenced off at that epoch.
    pub fn since(partition: PartitionId, fence: RingEpoch) -> Self {
        let joins = None;
        Self {
            partition,
            fence,
            joins,
        }
    }
}

/// A client's write, to be given its dot here.
#[derive(Debug, Clone)]
pub struct Write {
    /// Where.
    pub address: KeyAddress,
    /// The value; `None` deletes.
    pub content: Option<Bytes>,
    /// What the client has seen; empty for a blind write. In `lww` keyspaces the replica's own
    /// state must cover it.
    pub context: VersionVector,
    /// How long a value lives; `None`: as the keyspace says.
    pub ttl: Option<TimeToLive>,
    /// The client's name of the write, the same for each retry.
    pub request_id: Option<RequestId>,
    /// When the caller gives up: not begun after that.
    pub deadline: Instant,
    /// The placement's epoch under which the write was admitted.
    pub fence: RingEpoch,
}

/// Another replica's state of a key, to be merged into this one's. Never mints.
#[derive(Debug, Clone)]
pub struct Merge {
    /// Where.
    pub address: KeyAddress,
    /// What the other knows.
    pub state: KeyState,
    /// When the caller gives up: not begun after that.
    pub deadline: Instant,
    /// The placement's epoch under which the merge was admitted.
    pub fence: RingEpoch,
}

/// A write that has its dot. It goes to the other owners while the log is written here.
#[derive(Debug)]
pub struct Minted {
    /// The key's resulting state.
    pub state: Arc<KeyState>,
    /// The same as bytes, for the other owners.
    pub encoded: Bytes,
    /// What the client has seen now: its context and this write. It covers no sibling that the
    /// client was never shown (except older ones of the same actor, which a clock can't leave out).
    pub clock: VersionVector,
    /// The write's version, as [`super::version_at`] makes it from its stamp.
    pub version: u64,
    /// Whether this replica had a live value before the write.
    pub existed: bool,
    /// Whether the request had been written before: its first answer again.
    pub replayed: bool,
    /// Resolves when the write counts as held here.
    pub durable: Durable,
}

/// Resolves when a write counts as held by this replica: its log is on disk (or, in `async`
/// keyspaces, written) and its epoch is still served. Any error is of outcome `unknown`. Dropping
/// it does not stop the write.
#[derive(Debug)]
pub struct Durable {
    pub(super) done: oneshot::Receiver<Result<(), ReplicaError>>,
    pub(super) vnode: Arc<Vnode>,
    pub(super) epoch: RingEpoch,
}

impl Future for Durable {
    type Output = Result<(), ReplicaError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.done).poll(context).map(|done| {
            done.unwrap_or(Err(ReplicaError::Stopped { applied: true }))?;
            self.vnode.check_fence(self.epoch, true)
        })
    }
}

/// A merge is held by this replica, as durable as its keyspace asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    /// It changed this replica's state.
    pub changed: bool,
    /// This replica's resulting state differs from what was sent: it knew more, or had forgotten
    /// its own events. The sender may want to read it.
    pub differs: bool,
}

/// What came of scrubbing a part of a vnode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes of records read.
    pub bytes: usize,
    /// Sums of the tree that were not those of the data, and are now.
    pub wrong: usize,
    /// Blocks of leaves with a record that can't be read back.
    pub unreadable: usize,
    /// Where to go on; `None`: this was the last part.
    pub next: Option<u32>,
}

/// One vnode, for people and the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VnodeStatus {
    /// The partition.
    pub partition: PartitionId,
    /// Counts the times that the data was given up while this process runs, from 1.
    pub incarnation: u64,
    /// The move that the copy was made for.
    pub joined: Option<MoveId>,
    /// Identity of this copy of the data.
    pub vnode_id: VnodeId,
    /// The lowest key epoch that may still mint; raised at every unclean start.
    pub min_valid_epoch: u32,
    /// Whether it answers reads and mints.
    pub is_serving: bool,
    /// Whether it met damage that it was not rebuilt for yet: some of its keys are unavailable.
    pub is_damaged: bool,
    /// How far it is filled; `None`: it is whole.
    pub rebuilding: Option<Rebuilding>,
}

/// A vnode that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsound {
    /// The partition.
    pub partition: PartitionId,
    /// Which memory of the vnode this is about: what was decided for an earlier one is refused.
    pub incarnation: u64,
    /// Whether part of what it has is damaged.
    pub is_damaged: bool,
    /// How far it is filled; `None`: it has its data.
    pub rebuilding: Option<Rebuilding>,
}

/// Some of a vnode's states, as another owner that has lost its own takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatesPage {
    /// The vnode.
    pub vnode: VnodeId,
    /// Whether it serves; otherwise it is new.
    pub serving: bool,
    /// The states, in the order of the stored keys.
    pub states: Vec<StoredState>,
    /// Where to go on; `None`: there was nothing more.
    pub last: Option<Bytes>,
    /// Bytes of the whole copy, about, where no states were asked for.
    pub copy_bytes: u64,
}

impl StatesPage {
    /// Bytes of its states and their keys, about as many as it takes on its way to another node.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |stored: &StoredState| {
            let key = stored.keyspace.as_str().len() + stored.key.as_bytes().len();
            key + stored.state.len()
        };
        self.states.iter().map(bytes).sum()
    }
}

/// A key and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredState {
    /// The keyspace.
    pub keyspace: KeyspaceName,
    /// The key.
    pub key: Key,
    /// The state, in causality's encoding.
    pub state: Bytes,
}

/// One key's digest, for comparing replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDigest {
    /// The keyspace.
    pub keyspace: KeyspaceName,
    /// The key.
    pub key: Key,
    /// Hash of clock and dots.
    pub digest: u64,
}

/// A part of a vnode's digests, in the order of the keys' hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DigestPage {
    /// The digests.
    pub digests: Vec<KeyDigest>,
    /// Where to go on; `None`: this was the last part.
    pub next: Option<Bytes>,
}
