//! A write at the owner that mints its dot.
//!
//! Failure points, in order: before the mint everything is `rejected`; from the moment that the mint
//! is handed to the replica the caller may be told `rejected` only by the replica itself; after it
//! everything is `unknown`. The mint and all that follows run in a task of their own, so that a client
//! that goes away can't leave a write on one owner alone.

use std::sync::Arc;

use annulus_causality::{KeyState, MintError};
use annulus_proto::model::{ErrorCode, Outcome, RequestError};
use annulus_ring::Placement;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::delete_sight::Sight;
use super::get::Read;
use super::owners::{OwnerFailure, are_up, too_few};
use super::{Coordinator, RoundError};
use crate::mistake::{self, Mistake};
use crate::peer::{ForwardedAnswer, ForwardedWrite, Reachability};
use crate::replica::{KeyAddress, Merge, Minted, ReplicaError, Write};

impl Coordinator {
    /// Coordinates a write as one of the key's owners. A stale round has minted nothing.
    pub(super) async fn write_as_owner(
        &self,
        placement: &Arc<Placement>,
        address: &KeyAddress,
        write: &ForwardedWrite,
        deadline: Instant,
    ) -> Result<ForwardedAnswer, RoundError> {
        self.check_mints(placement, address)?;
        self.check_enough_reachable(placement, address, write, deadline)
            .await?;
        let mut context = write.context.clone();
        if write.value.is_none() {
            match self
                .look_for_victims(placement, address, write, deadline)
                .await?
            {
                Sight::Nothing { clock } => {
                    return Ok(ForwardedAnswer {
                        clock,
                        version: 0,
                        existed: false,
                        sloppy: false,
                    });
                }
                Sight::Something { context: seen } => context = seen,
            }
        }
        let job = OwnWrite {
            address: address.clone(),
            write: ForwardedWrite {
                context,
                ..write.clone()
            },
            deadline,
        };
        let (sender, verdict) = oneshot::channel();
        let (coordinator, placement) = (self.clone(), placement.clone());
        self.0
            .tasks
            .spawn(async move { coordinator.mint_and_spread(placement, job, sender).await });
        match timeout_at(deadline, verdict).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) => {
                let message = "the write was given up while the node stops";
                Err(RequestError::unknown(ErrorCode::Unavailable, message).into())
            }
            Err(_) => {
                let message = format!(
                    "fewer than {} replicas confirmed the write in time",
                    write.write_quorum
                );
                Err(RequestError::unknown(ErrorCode::Timeout, message).into())
            }
        }
    }

    async fn mint_and_spread(
        &self,
        placement: Arc<Placement>,
        job: OwnWrite,
        verdict: oneshot::Sender<Result<ForwardedAnswer, RoundError>>,
    ) {
        match self.mint(&placement, &job).await {
            Ok(minted) => self.spread(placement, job, minted, verdict).await,
            Err(error) => {
                let _ = verdict.send(Err(error)); // nobody may be waiting any more
            }
        }
    }

    /// Gives the write its dot. In `lww` keyspaces a context may be ahead of this copy, which must then
    /// learn what the client saw first, or its write might lose to what it replaces.
    async fn mint(&self, placement: &Arc<Placement>, job: &OwnWrite) -> Result<Minted, RoundError> {
        let first = self.0.replica.mint(job.to_mint(placement)).await;
        let minted = match first {
            Err(ReplicaError::NotMinted(MintError::ContextAhead)) => {
                self.catch_up(placement, job).await?;
                self.0.replica.mint(job.to_mint(placement)).await
            }
            first => first,
        };
        minted.map_err(|error| match error.outcome() {
            Outcome::Rejected => OwnerFailure::of_own(error, placement).into(),
            // It may have its dot: starting over would promise too much.
            Outcome::Unknown => RoundError::Failed(error.into()),
        })
    }

    /// Merges into this copy what a read that reaches the write's context shows.
    async fn catch_up(&self, placement: &Arc<Placement>, job: &OwnWrite) -> Result<(), RoundError> {
        let read = Read {
            address: job.address.clone(),
            needed: job.write.read_quorum,
            min_context: Some(job.write.context.clone()),
            deadline: job.deadline,
        };
        let state = self.read_round(placement, &read).await?;
        // None: what the client saw has been reaped, and nobody has anything that the write could lose to.
        let state = state.unwrap_or_else(|| {
            let mut seen = KeyState::new();
            seen.discard(&job.write.context);
            seen
        });
        let merge = Merge {
            address: job.address.clone(),
            state,
            deadline: job.deadline,
            fence: placement.epoch(),
        };
        let merged = self.0.replica.merge(merge).await;
        merged
            .map(|_| ())
            .map_err(|error| match OwnerFailure::of_own(error, placement) {
                // Whatever came of the merge, the client's own write was not made.
                OwnerFailure::Failed(error) => RoundError::Failed(RequestError {
                    outcome: Outcome::Rejected,
                    ..error
                }),
                stale @ OwnerFailure::Stale(_) => stale.into(),
            })
    }

    /// Refuses a write that is known to miss its quorum, while that still means that nothing happened.
    /// Waits for first attempts to connect, if it comes down to them. For a sloppy write other nodes count too.
    async fn check_enough_reachable(
        &self,
        placement: &Arc<Placement>,
        address: &KeyAddress,
        write: &ForwardedWrite,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let mut reachable = self.write_tally(placement, address, write.write_quorum);
        let mut down = 0;
        let mut pending = FuturesUnordered::new();
        let targets = placement.write_sets(address.partition()).targets();
        for owner in targets.clone() {
            let node = placement.node(owner).id;
            match self.0.peers.reachability(node) {
                _ if self.is_self(placement, owner) => {
                    reachable.ack(owner);
                }
                _ if self.is_down(placement, owner) => down += 1,
                Reachability::Connected => {
                    reachable.ack(owner);
                }
                Reachability::Connecting => pending.push(async move {
                    let reached = self.0.peers.reach(node, deadline).await;
                    (owner, reached)
                }),
                Reachability::Unreachable => {}
            }
        }
        while reachable.missing() > 0 {
            match pending.next().await {
                Some((owner, true)) => {
                    reachable.ack(owner);
                }
                Some((_, false)) => {}
                None if write.sloppy => {
                    let missing = reachable.missing();
                    let found = self.find_room(placement, address, write, missing, deadline);
                    return found.await;
                }
                None => {
                    let what = match down {
                        0 => "can be reached".to_owned(),
                        down => are_up(down, targets.count()),
                    };
                    let what = format!("{what}; nothing was written");
                    let (reached, needed) = reachable.progress();
                    return Err(too_few(&what, reached, needed, None, Outcome::Rejected));
                }
            }
        }
        Ok(())
    }

    /// A node may hold a copy and be no owner yet, or no more: whoever sends it a write acts under another placement.
    fn check_mints(&self, placement: &Placement, address: &KeyAddress) -> Result<(), RequestError> {
        let own = self.0.placement.own_index(placement);
        let minters = placement.minters(address.partition());
        if own.is_some_and(|own| minters.contains(&own))
            || mistake::is_made(Mistake::MintOnNonOwner)
        {
            return Ok(());
        }
        let message = format!(
            "this node does not own the key at placement epoch {}; try again",
            placement.epoch()
        );
        Err(RequestError::rejected(ErrorCode::StaleEpoch, message))
    }
}

/// A write on its way at its minting owner.
#[derive(Debug, Clone)]
pub(super) struct OwnWrite {
    pub(super) address: KeyAddress,
    /// With the context that it is minted with.
    pub(super) write: ForwardedWrite,
    pub(super) deadline: Instant,
}

impl OwnWrite {
    fn to_mint(&self, placement: &Placement) -> Write {
        Write {
            address: self.address.clone(),
            content: self.write.value.clone(),
            context: self.write.context.clone(),
            ttl: self.write.ttl,
            request_id: Some(self.write.request_id),
            deadline: self.deadline,
            fence: placement.epoch(),
        }
    }
}
