//! Copies that this node holds no more, and their end.
//!
//! Invariants: nothing of a copy is deleted while anything is under way that was admitted when it was held; deleted
//! is all of it at once, with its identity, so that a copy that is made later begins as another one, empty (rule V1).

use std::time::Duration;

use annulus_ring::{PartitionId, RingEpoch};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::committer::Operation;
use super::error::ReplicaError;
use super::handle::Replica;
use super::operation::VnodeStatus;
use crate::hash_tree::tree_range;
use crate::storage::{Space, key_encoding};

/// How long to wait for room in a committer's queue.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);

impl Replica {
    /// One of the vnodes that this node holds.
    pub fn vnode(&self, partition: PartitionId) -> Option<VnodeStatus> {
        self.shared.vnodes.status(partition)
    }

    /// The copies that are on disk and that this node does not hold.
    pub fn released(&self) -> Vec<PartitionId> {
        self.shared.vnodes.released()
    }

    /// Deletes a copy that this node does not hold. On disk when this returns; files that held nothing else are gone.
    /// Whether it did: not, if there is none, or it is held again. The rest of its space: [`Self::give_space_back`].
    pub async fn erase(&self, partition: PartitionId) -> Result<bool, ReplicaError> {
        let Some(tenure) = self.shared.vnodes.ended_tenure(partition) else {
            return Ok(false);
        };
        self.settled().await?;
        let shared = self.shared.clone();
        let erased = self.on_disk(move || {
            let erased = shared
                .vnodes
                .erase(shared.engine.as_ref(), partition, tenure);
            erased.inspect_err(|error| shared.fatal.raise_for(error))
        });
        let erased = erased.await??;
        if erased {
            self.shared.erased.lock().push(partition);
            tracing::info!(%partition, "a copy that is not held any more was deleted");
        }
        Ok(erased)
    }

    /// How many deleted copies still take space in files that hold others' data, too.
    pub(crate) fn taking_space(&self) -> usize {
        self.shared.erased.lock().len()
    }

    /// Rewrites the files in which deleted copies still take space: all at once, as the first of them makes the engine
    /// put its memory in files, which writes wait for. What can't be done now comes with a later compaction.
    pub(crate) async fn give_space_back(&self) {
        let erased = std::mem::take(&mut *self.shared.erased.lock());
        let engine = self.shared.engine.clone();
        let compacted = self.on_disk(move || {
            erased.into_iter().try_for_each(|partition| {
                engine.compact(Space::Data, &key_encoding::partition_range(partition))?;
                engine.compact(Space::Tree, &tree_range(partition))
            })
        });
        let failed = match compacted.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.into(),
            Err(error) => error,
        };
        tracing::warn!(error = %failed, "space of deleted copies is not free yet");
    }

    /// Whether what was asked of a partition under that epoch, and is done, still counts.
    pub fn check_fence(
        &self,
        partition: PartitionId,
        epoch: RingEpoch,
    ) -> Result<(), ReplicaError> {
        self.shared.vnodes.get(partition)?.check_fence(epoch, false)
    }

    /// Resolves once everything that was admitted until now has been applied, and is in the log, or was refused.
    pub async fn settled(&self) -> Result<(), ReplicaError> {
        let committers = u16::try_from(self.shared.committers()).unwrap_or(u16::MAX);
        for number in 0..committers {
            let partition = PartitionId(number); // the first that this committer writes
            let settled = loop {
                let (reply, settled) = oneshot::channel();
                match self.shared.enqueue(partition, Operation::Settle { reply }) {
                    Ok(()) => break settled,
                    // paced: the queue is full, of work that is worked off
                    Err(ReplicaError::Overloaded { .. }) => sleep(QUEUE_PAUSE).await,
                    Err(error) => return Err(error),
                }
            };
            let stopped = Err(ReplicaError::Stopped { applied: true });
            settled.await.unwrap_or(stopped)?;
        }
        Ok(())
    }
}
