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
    states: HashMap<Bytes, Arc<KeyState>>,
    /// Records beside the data; `None`: removed.
    asides: HashMap<(Space, Bytes), Option<Bytes>>,
}

impl CommitBatch {
    /// What an earlier operation of this batch has left.
    pub(super) fn state(&self, stored_key: &[u8]) -> Option<Arc<KeyState>> {
        self.states.get(stored_key).cloned()
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
        let tree = log.trees.entry(vnode.partition());
        let (_, changes) = tree.or_insert_with(|| (vnode.clone(), Changes::default()));
        changes.add(address.leaf(), stored, before, Some(&after));
        self.states.insert(stored.clone(), after);
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
