//! Takes one owner's states of a partition, page by page, into this node's copy.

use std::time::Duration;

use annulus_causality::KeyState;
use annulus_proto::peer::v1::ScanStates;
use annulus_ring::NodeId;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::sleep;

use super::driver::{Job, Rebuilder};
use crate::overload::Class;
use crate::peer::PeerFailure;
use crate::replica::{KeyAddress, Merge, Page, Rebuilding, ReplicaError, StatesPage, StoredState};

/// How long one page may take, and the merges of its states.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Merges of one page at a time: a group commit takes them together.
const MERGES_AT_ONCE: usize = 64;

impl Rebuilder {
    /// Takes what an owner has from where it was left, until there is no more or the owner fails. An error is one
    /// of this node's own.
    pub(super) async fn pull(
        &mut self,
        job: &Job,
        from: NodeId,
        rebuilding: &mut Rebuilding,
    ) -> Result<(), ReplicaError> {
        while !rebuilding.is_read(from) {
            if !self.parts.replica.has_room_for_background() {
                return Ok(()); // it goes on when there is space again
            }
            let after = rebuilding.position(from);
            let bytes = self.parts.options.page_bytes;
            let page = match self.ask_for_page(job, from, after, bytes).await {
                Ok(page) => page,
                Err(failure) => {
                    tracing::debug!(partition = %job.partition, %from, %failure, "no states");
                    return Ok(());
                }
            };
            let taken = self.merge_page(job, &page).await?;
            let counted = rebuilding.take(from, &taken);
            let (replica, kept) = (&self.parts.replica, rebuilding.clone());
            replica.fill(job.partition, job.incarnation, kept).await?;
            if !counted {
                return Ok(());
            }
            self.parts.metrics.keys.inc_by(taken.keys);
            self.parts.metrics.bytes.inc_by(taken.bytes);
            self.pace(taken.bytes).await;
        }
        Ok(())
    }

    pub(super) async fn ask_for_page(
        &self,
        job: &Job,
        from: NodeId,
        after: Option<Bytes>,
        limit_bytes: u64,
    ) -> Result<StatesPage, PeerFailure> {
        let question = ScanStates {
            partition: job.partition.0.into(),
            after: after.unwrap_or_default(),
            limit_bytes,
        };
        let deadline = self.parts.clock.now() + PAGE_TIMEOUT;
        let epoch = job.placement.epoch();
        let peers = &self.parts.peers;
        peers.states(from, epoch, question, deadline).await
    }

    /// Merges a page's states. All of them are in the log when this succeeds.
    async fn merge_page(&self, job: &Job, page: &StatesPage) -> Result<Page, ReplicaError> {
        let merges: Vec<_> = page
            .states
            .iter()
            .map(|stored| self.merge(job, stored))
            .collect();
        let merged = stream::iter(merges).buffer_unordered(MERGES_AT_ONCE);
        let () = merged.try_collect().await?;
        let bytes = page.states.iter().map(|stored| stored.state.len() as u64);
        Ok(Page {
            vnode: page.vnode,
            serving: page.serving,
            last: page.last.clone(),
            keys: page.states.len() as u64,
            bytes: bytes.sum(),
        })
    }

    async fn merge(&self, job: &Job, stored: &StoredState) -> Result<(), ReplicaError> {
        let partition = job.partition;
        let not_taken = |detail: String| ReplicaError::NotTaken { partition, detail };
        let keyspace = self.parts.keyspaces.get(&stored.keyspace);
        let keyspace = keyspace.map_err(|error| not_taken(error.to_string()))?;
        let state =
            KeyState::decode(&stored.state).map_err(|error| not_taken(error.to_string()))?;
        let address = KeyAddress::of(&job.placement, keyspace.clone(), stored.key.clone());
        let merge = Merge {
            address,
            state,
            deadline: self.parts.clock.now() + PAGE_TIMEOUT,
            fence: job.placement.epoch(),
        };
        self.parts.replica.merge(merge).await.map(drop)
    }

    /// Keeps to the share of the rate that clients leave.
    async fn pace(&mut self, bytes: u64) {
        let (share, now) = (
            self.parts.overload.share(Class::Stream),
            self.parts.clock.now(),
        );
        self.allowance.spend(bytes, share, now);
        sleep(self.allowance.owed(now)).await; // paced: the rate of rebuilding
    }
}
