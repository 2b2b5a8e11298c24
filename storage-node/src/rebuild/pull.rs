//! Takes another node's states of a partition, page by page, into this node's copy.

use std::time::Duration;

use annulus_causality::KeyState;
use annulus_proto::peer::v1::ScanStates;
use annulus_ring::NodeId;
use bytes::Bytes;
use futures::future::join3;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use prometheus_client::metrics::counter::Counter;

use super::Copy;
use crate::clock::Clock;
use crate::keyspace::Keyspaces;
use crate::overload::Throttle;
use crate::peer::{PeerFailure, Peers};
use crate::replica::{
    KeyAddress, Merge, Page, Rebuilding, Replica, ReplicaError, StatesPage, StoredState,
};

/// How long one page may take, and the merges of its states.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Merges of one page at a time: a group commit takes them together.
const MERGES_AT_ONCE: usize = 64;

/// Takes states, for whatever reason this node lacks them.
#[derive(Debug)]
pub(crate) struct Puller<'a> {
    pub(crate) replica: &'a Replica,
    /// In the session of the move, if it is for one.
    pub(crate) peers: &'a Peers,
    pub(crate) keyspaces: &'a Keyspaces,
    pub(crate) clock: &'a dyn Clock,
    /// Bytes of states in one page.
    pub(crate) page_bytes: u64,
    /// Keys and bytes taken.
    pub(crate) counters: (&'a Counter, &'a Counter),
}

/// How far a pull came. What it took counts, and the next one goes on from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pulled {
    /// To the end.
    All,
    /// Not so far, and why.
    Part(String),
}

impl Puller<'_> {
    /// Takes what a node has from where it was left, until there is no more or the node fails. An error is one
    /// of this node's own.
    pub(crate) async fn pull(
        &self,
        job: &Copy,
        from: NodeId,
        rebuilding: &mut Rebuilding,
        throttle: &impl Throttle,
    ) -> Result<Pulled, ReplicaError> {
        let mut ahead = None;
        while !rebuilding.is_read(from) {
            if !self.replica.has_room_for_background() {
                // It goes on when there is space again.
                return Ok(Pulled::Part("this node's disk has no room for it".into()));
            }
            let answer = match ahead.take() {
                Some(answer) => answer,
                None => self.ask(job, from, rebuilding.position(from)).await,
            };
            let page = match answer {
                Ok(page) => page,
                Err(failure) => return Ok(Pulled::Part(failure.to_string())),
            };
            // Each side pays while the other does: one after the other they would both fall behind.
            let (taken, (), next) = join3(
                self.merge_page(job, &page),
                throttle.spend(page.bytes()),
                self.after(job, from, &page),
            )
            .await;
            let taken = taken?;
            ahead = next;
            let counted = rebuilding.take(from, &taken);
            let kept = rebuilding.clone();
            self.replica
                .fill(job.partition, job.incarnation, kept)
                .await?;
            if !counted {
                let why = format!("node {from} does not hold what it once held");
                return Ok(Pulled::Part(why));
            }
            let (keys, bytes) = self.counters;
            keys.inc_by(taken.keys);
            bytes.inc_by(taken.bytes);
        }
        Ok(Pulled::All)
    }

    /// The page after that one, while that is merged.
    async fn after(
        &self,
        job: &Copy,
        from: NodeId,
        page: &StatesPage,
    ) -> Option<Result<StatesPage, PeerFailure>> {
        let last = page.last.clone()?;
        Some(self.ask(job, from, Some(last)).await)
    }

    async fn ask(
        &self,
        job: &Copy,
        from: NodeId,
        after: Option<Bytes>,
    ) -> Result<StatesPage, PeerFailure> {
        self.ask_for_page(job, from, after, self.page_bytes).await
    }

    /// States that come after that key, so many bytes of them.
    pub(crate) async fn ask_for_page(
        &self,
        job: &Copy,
        from: NodeId,
        after: Option<Bytes>,
        limit_bytes: u64,
    ) -> Result<StatesPage, PeerFailure> {
        let question = ScanStates {
            partition: job.partition.0.into(),
            after: after.unwrap_or_default(),
            limit_bytes,
        };
        let deadline = self.clock.now() + PAGE_TIMEOUT;
        let epoch = job.placement.epoch();
        self.peers.states(from, epoch, question, deadline).await
    }

    /// Merges a page's states. All of them are in the log when this succeeds.
    async fn merge_page(&self, job: &Copy, page: &StatesPage) -> Result<Page, ReplicaError> {
        let merges: Vec<_> = page
            .states
            .iter()
            .map(|stored| self.merge(job, stored))
            .collect();
        let merged = stream::iter(merges).buffer_unordered(MERGES_AT_ONCE);
        let () = merged.try_collect().await?;
        Ok(Page {
            vnode: page.vnode,
            serving: page.serving,
            last: page.last.clone(),
            keys: page.states.len() as u64,
            bytes: page.bytes() as u64,
        })
    }

    async fn merge(&self, job: &Copy, stored: &StoredState) -> Result<(), ReplicaError> {
        let partition = job.partition;
        let not_taken = |detail: String| ReplicaError::NotTaken { partition, detail };
        let keyspace = self.keyspaces.get(&stored.keyspace);
        let keyspace = keyspace.map_err(|error| not_taken(error.to_string()))?;
        let state =
            KeyState::decode(&stored.state).map_err(|error| not_taken(error.to_string()))?;
        let address = KeyAddress::of(&job.placement, keyspace.clone(), stored.key.clone());
        if address.partition() != partition {
            return Err(not_taken(format!("{} belongs to another", stored.key)));
        }
        let merge = Merge {
            address,
            state,
            deadline: self.clock.now() + PAGE_TIMEOUT,
            fence: job.placement.epoch(),
        };
        self.replica.merge(merge).await.map(drop)
    }
}
