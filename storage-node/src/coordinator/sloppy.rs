//! Other nodes that stand in for owners that are away: the sloppy quorum.
//!
//! A node that stands in keeps the write on its disk, as a hint for its owner, and counts for that
//! owner. It never mints, and holds no copy: reads don't ask it. So a sloppy write may stay unseen until
//! its owners have it.

use std::sync::Arc;

use annulus_proto::model::{Outcome, RequestError};
use annulus_ring::{NodeIndex, Placement};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Coordinator;
use super::owners::{OwnerFailure, too_few};
use super::spread::Round;
use crate::hints::fallbacks;
use crate::peer::{ForwardedWrite, PeerFailure, Reachability};
use crate::replica::KeyAddress;

/// What a state holds beside the value, about.
const STATE_BYTES: usize = 256;

/// Who has a write on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// An owner.
    Owner,
    /// A node that stands in for it.
    Fallback,
}

/// The nodes that were asked to stand in, each for one owner.
#[derive(Debug, Default)]
pub(super) struct StandingIn(Mutex<Vec<NodeIndex>>);

impl StandingIn {
    /// The first of these that was not asked yet; it is now.
    fn take(&self, candidates: &[NodeIndex]) -> Option<NodeIndex> {
        let mut asked = self.0.lock();
        let next = candidates
            .iter()
            .find(|node| !asked.contains(node))
            .copied()?;
        asked.push(next);
        Some(next)
    }
}

impl Coordinator {
    /// Has another node keep the write for an owner. `why`: what came of the owner.
    pub(super) async fn give_to_fallback(
        &self,
        round: Round<'_>,
        owner: NodeIndex,
        standing_in: &StandingIn,
        why: RequestError,
    ) -> Result<Holder, OwnerFailure> {
        let Round {
            placement,
            job,
            state,
            ..
        } = round;
        let candidates = self.reachable_fallbacks(placement, &job.address, owner);
        let (target, epoch) = (placement.node(owner).id, placement.epoch());
        while let Some(fallback) = standing_in.take(&candidates) {
            let write = (&job.address, state.encoded.clone());
            let node = placement.node(fallback).id;
            let kept = self
                .0
                .peers
                .keep_sloppy(node, epoch, target, write, job.deadline);
            match kept.await {
                Ok(()) => {
                    self.0.metrics.sloppy_writes.inc();
                    return Ok(Holder::Fallback);
                }
                Err(PeerFailure::Stale(epoch)) => return Err(OwnerFailure::Stale(epoch)),
                Err(failure) => tracing::debug!(%failure, "a fallback did not keep a write"),
            }
        }
        Err(OwnerFailure::Failed(why))
    }

    /// Looks for as many nodes with room for the write as owners are missing, before anything has happened.
    pub(super) async fn find_room(
        &self,
        placement: &Arc<Placement>,
        address: &KeyAddress,
        write: &ForwardedWrite,
        missing: usize,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let bytes = STATE_BYTES + write.value.as_ref().map_or(0, bytes::Bytes::len);
        let owner = placement.owners(address.partition())[0];
        let mut found = 0;
        for fallback in self.reachable_fallbacks(placement, address, owner) {
            if found == missing {
                break;
            }
            let (node, epoch) = (placement.node(fallback).id, placement.epoch());
            let has_room = self
                .0
                .peers
                .has_sloppy_room(node, epoch, bytes, deadline)
                .await;
            found += usize::from(has_room.unwrap_or(false));
        }
        if found == missing {
            return Ok(());
        }
        let reachable = write.write_quorum.saturating_sub(missing);
        let what = "can be reached, or stood in for; nothing was written";
        let (held, needed) = (reachable + found, write.write_quorum);
        Err(too_few(what, held, needed, None, Outcome::Rejected))
    }

    fn reachable_fallbacks(
        &self,
        placement: &Placement,
        address: &KeyAddress,
        owner: NodeIndex,
    ) -> Vec<NodeIndex> {
        let mut found = fallbacks(placement, address.partition(), owner);
        found.retain(|node| {
            let reachability = self.0.peers.reachability(placement.node(*node).id);
            reachability == Reachability::Connected && !self.is_down(placement, *node)
        });
        found
    }
}
