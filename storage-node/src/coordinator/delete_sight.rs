//! What a delete finds to delete.

use std::sync::Arc;

use annulus_causality::{KeyState, VersionVector};
use annulus_ring::Placement;
use tokio::time::Instant;

use super::get::Read;
use super::owners::OwnerFailure;
use super::{Coordinator, RoundError};
use crate::peer::ForwardedWrite;
use crate::replica::KeyAddress;

/// What a delete finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Something: a tombstone with this context removes it.
    Something {
        /// What the tombstone covers.
        context: VersionVector,
    },
    /// Nothing, as far as a read at the asked quorum can tell.
    Nothing {
        /// What that read has seen.
        clock: VersionVector,
    },
}

impl Coordinator {
    /// Looks for what the delete is to remove. A context is believed: what it covers and this node can't
    /// rule out is deleted without a read.
    pub(super) async fn look_for_victims(
        &self,
        placement: &Arc<Placement>,
        address: &KeyAddress,
        write: &ForwardedWrite,
        deadline: Instant,
    ) -> Result<Sight, RoundError> {
        let context = &write.context;
        if !context.is_empty() {
            let local = self.0.replica.read(address).await;
            let local = local.map_err(|error| OwnerFailure::of_own(error, placement))?;
            if sees_victim(local.as_ref(), write, self.0.clock.wall_ms()) {
                return Ok(Sight::Something {
                    context: context.clone(),
                });
            }
        }
        let read = Read {
            address: address.clone(),
            needed: write.read_quorum,
            min_context: None,
            deadline,
        };
        let state = self.read_round(placement, &read).await?.unwrap_or_default();
        Ok(sight(&state, write, self.0.clock.wall_ms()))
    }
}

/// Whether the local copy shows something that the context covers, or lacks part of what it covers.
fn sees_victim(local: Option<&KeyState>, write: &ForwardedWrite, now_ms: u64) -> bool {
    local.is_none_or(|local| {
        local.known_request(write.request_id).is_some()
            || !local.clock().descends(&write.context)
            || local
                .live(now_ms)
                .any(|sibling| write.context.covers(sibling.dot))
    })
}

/// What a read shows to a delete. A retry of a delete that took effect finds its own tombstone.
fn sight(state: &KeyState, write: &ForwardedWrite, now_ms: u64) -> Sight {
    let is_blind = write.context.is_empty();
    let is_retry = state.known_request(write.request_id).is_some();
    let unseen = !state.clock().descends(&write.context);
    let mut victims = state
        .live(now_ms)
        .filter(|sibling| is_blind || write.context.covers(sibling.dot));
    if !is_retry && !unseen && victims.next().is_none() {
        return Sight::Nothing {
            clock: state.context(),
        };
    }
    let context = if is_blind {
        state.context()
    } else {
        write.context.clone()
    };
    Sight::Something { context }
}
