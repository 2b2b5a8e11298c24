//! What one group commit has gathered: changes for the log, states for the operations that come
//! after in the same batch, and who waits.
//!
//! `sync` and `async` keyspaces share a group but not a log write, so that the latter never wait
//! for an fsync. What the states change in the vnodes' hash trees is in the log write of the states.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use annulus_causality::KeyState;
use annulus_ring::{PartitionId, RingEpoch};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::address::KeyAddress;
use super::error::ReplicaError;
use super::operation::Merged;
use super::tombstones::Reclaimed;
use super::vnode::Vnode;
use crate::hash_tree::Changes;
use crate::keyspace::Durability;
use crate::mistake::{self, Mistake};
use crate::storage::{Batch, Engine, EngineError, Space};

/// Who waits for the log.
pub(super) enum Waiter {
    /// A minted write, already handed out.
    Minted(oneshot::Sender<Result<(), ReplicaError>>),
    /// A merge, answered only now.
    Merged {
        reply: oneshot::Sender<Result<Merged, ReplicaError>>,
        merged: Merged,
        vnode: Arc<Vnode>,
        epoch: RingEpoch,
    },
    /// Work beside the data.
    Aside(oneshot::Sender<Result<(), ReplicaError>>),
    /// A step of reclaiming, answered only now.
    Reclaimed {
        reply: oneshot::Sender<Result<Reclaimed, ReplicaError>>,
        reclaimed: Reclaimed,
        vnode: Arc<Vnode>,
        epoch: RingEpoch,
    },
}

impl Waiter {
    /// The log has it.
    pub(super) fn held(self) {
        // Whoever has stopped waiting is not told; what was written stays written.
        match self {
            Self::Minted(done) | Self::Aside(done) => {
                let _ = done.send(Ok(()));
            }
            Self::Merged {
                reply,
                merged,
                vnode,
                epoch,
            } => {
                let _ = reply.send(vnode.check_fence(epoch, true).map(|()| merged));
            }
            Self::Reclaimed {
                reply,
                reclaimed,
                vnode,
                epoch,
            } => {
                let _ = reply.send(vnode.check_fence(epoch, true).map(|()| reclaimed));
            }
        }
    }

    /// Nobody knows whether the log has it.
    pub(super) fn failed(self, error: ReplicaError) {
        match self {
            Self::Minted(done) | Self::Aside(done) => {
                let _ = done.send(Err(error));
            }
            Self::Merged { reply, .. } => {
                let _ = reply.send(Err(error));
            }
            Self::Reclaimed { reply, .. } => {
                let _ = reply.send(Err(error));
            }
        }
    }
}

/// One log write and who waits for it.
#[derive(Default)]
pub(super) struct LogWrite {
    pub(super) batch: Batch,
    pub(super) waiters: Vec<Waiter>,
    trees: BTreeMap<PartitionId, (Arc<Vnode>, Changes)>,
    /// For [`Mistake::TreeInItsOwnBatch`].
    pub(super) late: Batch,
}

impl LogWrite {
    /// A key's state became another; `None` is no record.
    fn change_tree(
        &mut self,
        vnode: &Arc<Vnode>,
        address: &KeyAddress,
        before: Option<&KeyState>,
        after: Option<&KeyState>,
    ) {
        let tree = self.trees.entry(vnode.partition());
        let (_, changes) = tree.or_insert_with(|| (vnode.clone(), Changes::default()));
        changes.add(address.leaf(), address.stored(), before, after);
    }

    /// Nothing more comes: puts the trees' changes in.
    fn seal(&mut self) {
        let batch = if mistake::is_made(Mistake::TreeInItsOwnBatch) {
            &mut self.late
        } else {
            &mut self.batch
        };
        for (partition, (_, changes)) in &self.trees {
            changes.put_into(batch, *partition);
        }
    }

    /// The engine has taken it.
    pub(super) fn written(&self) {
        for (vnode, changes) in self.trees.values() {
            vnode.root_changed(&changes.root());
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct CommitBatch {
    pub(super) synced: LogWrite,
    pub(super) buffered: LogWrite,
    /// `None`: removed.
    states: HashMap<Bytes, Option<Arc<KeyState>>>,
    /// Records beside the data; `None`: removed.
    asides: HashMap<(Space, Bytes), Option<Bytes>>,
}

/// Written where only the fsync is wanted.
const SYNC_MARK: &[u8] = b"sync-mark";

impl CommitBatch {
    /// What an earlier operation of this batch has left; the inner `None`: no record.
    pub(super) fn state(&self, stored_key: &[u8]) -> Option<&Option<Arc<KeyState>>> {
        self.states.get(stored_key)
    }

    /// A key's new state.
    pub(super) fn put(
        &mut self,
        vnode: &Arc<Vnode>,
        address: &KeyAddress,
        before: Option<&KeyState>,
        after: Arc<KeyState>,
        record: Bytes,
    ) {
        let stored = address.stored();
        let log = self.log(address.keyspace().durability);
        log.batch.put(Space::Data, stored.clone(), record);
        log.change_tree(vnode, address, before, Some(&after));
        self.states.insert(stored.clone(), Some(after));
    }

    /// A key's record goes, and with it what it adds to its tree.
    pub(super) fn remove(
        &mut self,
        vnode: &Arc<Vnode>,
        address: &KeyAddress,
        before: Option<&KeyState>,
    ) {
        let stored = address.stored();
        let log = self.log(address.keyspace().durability);
        log.batch.delete(Space::Data, stored.clone());
        log.change_tree(vnode, address, before, None);
        self.states.insert(stored.clone(), None);
    }

    /// The log is synced with this batch, whether anything else asks for it or not, and with it all that was
    /// written before.
    pub(super) fn force_sync(&mut self) {
        self.synced.batch.put(Space::Meta, SYNC_MARK, Bytes::new());
    }

    /// Nothing more comes.
    pub(super) fn seal(mut self) -> Self {
        self.synced.seal();
        self.buffered.seal();
        self
    }

    /// A record beside the data, as the earlier operations of this batch left it on the engine.
    pub(super) fn aside(
        &self,
        engine: &dyn Engine,
        space: Space,
        key: &[u8],
    ) -> Result<Option<Bytes>, EngineError> {
        if !self.asides.is_empty()
            && let Some(left) = self.asides.get(&(space, Bytes::copy_from_slice(key)))
        {
            return Ok(left.clone());
        }
        engine.get(space, key)
    }

    /// A record beside the data. Always with the synced part, so that their order stays.
    pub(super) fn put_aside(&mut self, space: Space, key: Bytes, record: Option<Bytes>) {
        match &record {
            Some(record) => self.synced.batch.put(space, key.clone(), record.clone()),
            None => self.synced.batch.delete(space, key.clone()),
        }
        self.asides.insert((space, key), record);
    }

    /// Somebody waits for the log to hold what the batch has so far.
    pub(super) fn wait(&mut self, durability: Durability, waiter: Waiter) {
        if mistake::is_made(Mistake::AcknowledgeBeforeSync) {
            return waiter.held();
        }
        self.log(durability).waiters.push(waiter);
    }

    fn log(&mut self, durability: Durability) -> &mut LogWrite {
        match durability {
            Durability::Sync => &mut self.synced,
            Durability::Async => &mut self.buffered,
        }
    }
}
