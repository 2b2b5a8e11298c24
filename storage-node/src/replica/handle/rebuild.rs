//! What is asked of a replica to rebuild vnodes: here, and for those of other nodes.

use std::convert::identity;

use annulus_causality::VnodeId;
use annulus_ring::PartitionId;
use bytes::Bytes;

use super::Replica;
use crate::replica::committer::Operation;
use crate::replica::error::ReplicaError;
use crate::replica::operation::{StatesPage, StoredState, Unsound};
use crate::replica::rebuilding::{Origin, Rebuilding};
use crate::replica::record;
use crate::replica::stage::StageChange;
use crate::replica::vnode::Vnode;
use crate::storage::{Entry, ScanLimit};

/// One page of states has at most so many.
const STATES_PAGE_ENTRIES: usize = 4096;

impl Replica {
    /// Some of a vnode's states, for another owner that has lost its own: begin with `None`, go on with
    /// [`StatesPage::last`]. Nothing but who it is, for `bytes` = 0. A vnode that serves answers, and one that is
    /// new: that has all it ever held.
    pub async fn states(
        &self,
        partition: PartitionId,
        after: Option<Bytes>,
        bytes: usize,
    ) -> Result<StatesPage, ReplicaError> {
        let vnode = self.shared.vnodes.get(partition)?;
        let standing = Standing::of(&vnode)?;
        let limit = ScanLimit {
            entries: STATES_PAGE_ENTRIES,
            bytes,
        };
        let (found, copy_bytes) = match bytes {
            0 => (Vec::new(), self.copy_bytes(partition).await),
            _ => (self.scan(&vnode, after, limit, identity).await?, 0),
        };
        let states = found.iter().map(|entry| self.stored_state(&vnode, entry));
        let states = states.collect::<Result<_, _>>()?;
        if Standing::of(&vnode)? != standing {
            return Err(ReplicaError::Rebuilding { partition });
        }
        Ok(StatesPage {
            vnode: standing.vnode,
            // Who asks for nothing else wants to know on whom it can count.
            serving: standing.serving && (bytes > 0 || !vnode.has_met_damage()),
            states,
            last: found.last().map(|entry| entry.key.clone()),
            copy_bytes,
        })
    }

    /// The share of the data that the partition's share of the keys stands for; 0 where that is not known.
    async fn copy_bytes(&self, partition: PartitionId) -> u64 {
        let estimates = self.estimates();
        let Ok(tree) = self.tree_root(partition).await else {
            return 0;
        };
        let keys = u64::from(tree.keys).min(estimates.keys);
        estimates.bytes / estimates.keys.max(1) * keys
    }

    /// Resolves when there may be something to rebuild that there was not before.
    pub async fn attention(&self) {
        self.shared.vnodes.attention().notified().await;
    }

    /// The vnodes that this node owns and that are damaged, or not filled yet.
    pub fn unsound(&self) -> Vec<Unsound> {
        let unsound = self.shared.vnodes.unsound().into_iter();
        let unsound = unsound.map(|vnode| Unsound {
            partition: vnode.partition(),
            incarnation: vnode.incarnation(),
            is_damaged: vnode.is_damaged(),
            rebuilding: vnode.rebuilding(),
        });
        unsound.collect()
    }

    /// Whether there are any [`Self::unsound`].
    pub fn has_unsound(&self) -> bool {
        self.shared.vnodes.has_unsound()
    }

    /// The whole disk can't be trusted: all vnodes are to be rebuilt.
    pub fn distrust_disk(&self) {
        self.shared.vnodes.distrust();
    }

    /// As if a read had met damage there.
    #[cfg(test)]
    pub(crate) fn assume_damaged(&self, partition: PartitionId) {
        let vnode = self.shared.vnodes.get(partition);
        vnode.expect("an owned partition").note_damage();
    }

    /// A vnode answers nothing, and keeps what it has, until it is resumed or gives up its data.
    pub fn set_suspended(&self, partition: PartitionId, suspended: bool) {
        if let Ok(vnode) = self.shared.vnodes.get(partition) {
            if suspended {
                vnode.suspend();
            } else {
                vnode.resume();
            }
        }
    }

    /// A vnode gives up its data, under a new id, to be filled from others (rule V1). On disk when this returns.
    pub async fn give_up(
        &self,
        partition: PartitionId,
        incarnation: u64,
    ) -> Result<(), ReplicaError> {
        let now_ms = self.shared.clock.wall_ms();
        let change = StageChange::GiveUp {
            vnode_id: VnodeId(self.shared.randomness.u64()),
            rebuilding: Rebuilding::begin(Origin::Damaged, now_ms),
        };
        self.change(partition, incarnation, change).await
    }

    /// A vnode was filled so far, with states whose merges have been answered. On disk when this returns, and
    /// those states with it.
    pub async fn fill(
        &self,
        partition: PartitionId,
        incarnation: u64,
        rebuilding: Rebuilding,
    ) -> Result<(), ReplicaError> {
        let change = StageChange::Fill(rebuilding);
        self.change(partition, incarnation, change).await
    }

    /// A vnode has all that it should hold: it serves from now on.
    pub async fn serve(
        &self,
        partition: PartitionId,
        incarnation: u64,
    ) -> Result<(), ReplicaError> {
        self.change(partition, incarnation, StageChange::Serve)
            .await
    }

    async fn change(
        &self,
        partition: PartitionId,
        incarnation: u64,
        change: StageChange,
    ) -> Result<(), ReplicaError> {
        let vnode = self.shared.vnodes.get(partition)?;
        let change = |reply| Operation::Change {
            change,
            incarnation,
            vnode,
            reply,
        };
        self.in_turn(partition, change).await
    }

    /// Whether the reason of [`Self::fatal`] is damage that the engine would meet again after every start.
    pub fn database_is_damaged(&self) -> bool {
        self.shared.fatal.is_damage()
    }

    fn stored_state(&self, vnode: &Vnode, entry: &Entry) -> Result<StoredState, ReplicaError> {
        let key = self.key_of(vnode, entry)?;
        let state = record::intact_state(&entry.key, &entry.value);
        let state = state.map_err(|detail| self.damaged(vnode, detail))?;
        Ok(StoredState {
            keyspace: key.keyspace,
            key: key.key,
            state,
        })
    }
}

/// What a vnode is to another owner that reads it.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    vnode: VnodeId,
    serving: bool,
    incarnation: u64,
}

impl Standing {
    fn of(vnode: &Vnode) -> Result<Self, ReplicaError> {
        let serving = vnode.serving();
        let is_new = vnode
            .rebuilding()
            .is_some_and(|rebuilding| rebuilding.origin == Origin::New);
        if !is_new {
            serving.clone()?;
        }
        Ok(Self {
            vnode: vnode.vnode_id(),
            serving: serving.is_ok(),
            incarnation: vnode.incarnation(),
        })
    }
}
