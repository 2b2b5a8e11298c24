//! The driver of [`super::tombstones`]: its steps in a key's turn at the committer, and the scan that finds
//! what they are for.

use std::sync::Arc;

use annulus_ring::PartitionId;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use tokio::sync::oneshot;

use super::commit_batch::{CommitBatch, Waiter};
use super::committer::{Committer, Operation};
use super::error::ReplicaError;
use super::handle::Replica;
use super::record::{self, Record};
use super::tombstones::{
    self, Decision, Finding, Reclaim, Reclaimed, ScanPage, TombstoneFound, TombstoneRule,
    TombstonesFound,
};
use super::vnode::Vnode;
use crate::keyspace::Durability;
use crate::storage::{Entry, ScanLimit, key_encoding};

/// Steps of one request that are in a committer's queue at a time.
const RECLAIMED_AT_ONCE: usize = 64;

impl Replica {
    /// When deleted keys and expired values may go.
    pub fn tombstone_rule(&self) -> TombstoneRule {
        self.shared.tombstones
    }

    /// Does one step of reclaiming, in the key's turn. Answered when that is as durable as the step asks.
    pub async fn reclaim(&self, reclaim: Reclaim) -> Result<Reclaimed, ReplicaError> {
        let partition = reclaim.address.partition();
        let reclaimed = async {
            let vnode = self.shared.vnodes.get(partition)?;
            vnode.check_fence(reclaim.fence, false)?;
            vnode.serving()?;
            self.warm(&reclaim.address).await?;
            let step = |reply| Operation::Reclaim {
                reclaim,
                vnode,
                reply,
            };
            self.in_turn(partition, step).await
        };
        let reclaimed = reclaimed.await;
        self.shared.metrics.count("reclaim", &reclaimed);
        reclaimed
    }

    /// Does the same phase of reclaiming to several keys. A damaged one does not stop the others.
    pub async fn reclaim_all(&self, steps: Vec<Reclaim>) -> Result<TombstonesFound, ReplicaError> {
        let steps = steps.into_iter().map(|step| self.reclaim(step));
        let mut done = stream::iter(steps).buffered(RECLAIMED_AT_ONCE);
        let mut all = TombstonesFound::default();
        while let Some(reclaimed) = done.next().await {
            // All answers are one vnode's: one that was rebuilt meanwhile is another.
            let mut same_vnode = |vnode| *all.vnode.get_or_insert(vnode) == vnode;
            let found = match reclaimed {
                Ok(Reclaimed::Same { vnode }) if same_vnode(vnode) => TombstoneFound::Same,
                Ok(Reclaimed::Absent { vnode }) if same_vnode(vnode) => TombstoneFound::Absent,
                Ok(_) => TombstoneFound::Other,
                Err(ReplicaError::Corrupt { .. }) => TombstoneFound::Damaged,
                Err(error) => return Err(error),
            };
            all.found.push(found);
        }
        Ok(all)
    }

    /// Looks for what may be reclaimed in a part of a vnode, in the order of the keys' hashes. `now_ms`: the
    /// wall time. Begin with `None`, go on with [`ScanPage::next`].
    pub async fn scan_for_reclaiming(
        &self,
        partition: PartitionId,
        after: Option<Bytes>,
        limit: ScanLimit,
        now_ms: u64,
    ) -> Result<ScanPage, ReplicaError> {
        let vnode = self.shared.vnodes.get(partition)?;
        let expired_before_ms = self.shared.tombstones.expired_before_ms(now_ms);
        let look = move |found: Vec<Entry>| page_of(&found, expired_before_ms);
        let page = self.scan(&vnode, after, limit, look).await?;
        if page.damaged > 0 {
            vnode.note_damage();
        }
        Ok(page)
    }
}

fn page_of(found: &[Entry], expired_before_ms: u64) -> ScanPage {
    let mut page = ScanPage {
        next: found.last().map(|entry| entry.key.clone()),
        ..ScanPage::default()
    };
    for entry in found {
        page.bytes += entry.key.len() + entry.value.len();
        match finding(entry) {
            Some(finding) if is_of_interest(&finding, expired_before_ms) => {
                page.findings.push(finding);
            }
            Some(_) => {}
            None => page.damaged += 1,
        }
    }
    page
}

fn is_of_interest(finding: &Finding, expired_before_ms: u64) -> bool {
    let state = &finding.state;
    let has_expired = |sibling: &annulus_causality::Sibling| {
        !sibling.content.is_tombstone() && sibling.is_expired(expired_before_ms)
    };
    state.ended_at_ms().is_some() || state.siblings().iter().any(has_expired)
}

/// `None`: damage, which reads report and repair.
fn finding(entry: &Entry) -> Option<Finding> {
    let key = key_encoding::decode(&entry.key)?;
    let state = record::decode(&entry.key, &entry.value).ok()?;
    Some(Finding {
        keyspace: key.keyspace,
        key: key.key,
        state,
        bytes: entry.key.len() + entry.value.len(),
    })
}

impl Committer {
    /// Applies one step; the waiter gets the answer once the log holds it.
    pub(super) fn reclaim(
        &mut self,
        reclaim: &Reclaim,
        vnode: Arc<Vnode>,
        reply: oneshot::Sender<Result<Reclaimed, ReplicaError>>,
        batch: &mut CommitBatch,
    ) {
        match self.try_reclaim(reclaim, &vnode, batch) {
            Ok((reclaimed, durability)) => {
                let waiter = Waiter::Reclaimed {
                    reply,
                    reclaimed,
                    vnode,
                    epoch: reclaim.fence,
                };
                batch.wait(durability, waiter);
            }
            Err(error) => {
                let _ = reply.send(Err(error)); // whoever has stopped waiting is not told
            }
        }
    }

    fn try_reclaim(
        &mut self,
        reclaim: &Reclaim,
        vnode: &Arc<Vnode>,
        batch: &mut CommitBatch,
    ) -> Result<(Reclaimed, Durability), ReplicaError> {
        self.admit(reclaim.deadline, vnode, reclaim.fence, false)?;
        // What lacks its data proves nothing, and none of its records is all that it should hold.
        vnode.serving()?;
        let address = &reclaim.address;
        let durability = address.keyspace().durability;
        let local = self.local_state(address, vnode, batch)?;
        let now_ms = self.clock.wall_ms();
        let decision = tombstones::decide(
            self.tombstones,
            vnode.vnode_id(),
            local.as_deref(),
            reclaim.step,
            now_ms,
        );
        Ok(match decision {
            Decision::Keep(reclaimed) => (reclaimed, durability),
            Decision::Sync(reclaimed) => {
                // What was read may be in an `async` keyspace's log only as yet.
                batch.force_sync();
                (reclaimed, Durability::Sync)
            }
            Decision::Remove(reclaimed) => {
                batch.remove(vnode, address, local.as_deref());
                (reclaimed, durability)
            }
            Decision::Write(state, reclaimed) => {
                let state = Arc::from(state);
                let record = Record::of(address.stored(), &state);
                let bytes = record.bytes().clone();
                batch.put(vnode, address, local.as_deref(), state, bytes);
                (reclaimed, durability)
            }
        })
    }
}
