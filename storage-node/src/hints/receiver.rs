//! Takes what others have kept for this node. The driver.
//!
//! The age of a write is judged here, by its own stamp, and not by the sender: a sender may have been
//! away for days itself.

use annulus_causality::{HlcStamp, KeyState};
use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::{NodeIndex, Placement};
use bytes::Bytes;
use futures::future::join_all;
use tokio::time::Instant;

use super::credit::Grant;
use super::record::is_expired;
use super::store::Hints;
use crate::mistake::{self, Mistake};
use crate::overload::Class;
use crate::placement::takes_writes;
use crate::replica::{KeyAddress, Merge, ReplicaError};

/// A hint on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handover {
    /// The keyspace.
    pub(crate) keyspace: KeyspaceName,
    /// The key.
    pub(crate) key: Key,
    /// The key's state, in causality's encoding.
    pub(crate) state: Bytes,
    /// The stamp of the write that it is about; of several, the oldest.
    pub(crate) written: HlcStamp,
    /// It was counted for an acknowledgement: it has no age.
    pub(crate) sloppy: bool,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is merged, as durable as its keyspace asks for.
    Applied,
    /// It is too old: nothing happened.
    Expired,
    /// The receiver does not own the key: nothing happened.
    NotOwner,
    /// The receiver can make nothing of it, now or later.
    Refused,
    /// It may work later.
    Failed,
}

impl Taken {
    fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Expired => "expired",
            Self::NotOwner => "not_owner",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl Hints {
    /// Somebody asks leave to send so many bytes of hints.
    pub(crate) fn ask_credit(&self, bytes: u64) -> Grant {
        let (is_busy, now) = (self.0.replica.is_busy(), self.0.clock.now());
        let share = self.0.overload.share(Class::Hints);
        self.0.credit.lock().ask(bytes, share, is_busy, now)
    }

    /// Takes hints; what became of each, in their order. `own`: this node's place in the placement.
    pub(crate) async fn take(
        &self,
        (placement, own): (&Placement, Option<NodeIndex>),
        handed_over: Vec<Handover>,
        deadline: Instant,
    ) -> Vec<Taken> {
        let each = handed_over.into_iter().map(|handover| async move {
            let taken = self.take_one((placement, own), handover, deadline).await;
            self.0.metrics.received(taken.as_str());
            taken
        });
        join_all(each).await
    }

    async fn take_one(
        &self,
        (placement, own): (&Placement, Option<NodeIndex>),
        handover: Handover,
        deadline: Instant,
    ) -> Taken {
        let Ok(keyspace) = self.0.keyspaces.get(&handover.keyspace) else {
            return Taken::Refused;
        };
        let Ok(state) = KeyState::decode(&handover.state) else {
            return Taken::Refused;
        };
        // Nothing is younger than the youngest write in it, whatever the sender says.
        let youngest = state.max_stamp().unwrap_or_default();
        let written = handover.written.min(youngest);
        let expired = is_expired(written, self.0.clock.wall_ms(), self.0.limits.ttl);
        if expired && !handover.sloppy {
            return Taken::Expired;
        }
        // Where nobody asks for sloppy hints any more before a deleted key is forgotten, an old one might bring a
        // deleted value back. Its keeper keeps it, for people to look at.
        let rule = self.0.replica.tombstone_rule();
        let forgotten_after = rule.age.saturating_sub(rule.max_clock_skew);
        let may_be_forgotten = is_expired(written, self.0.clock.wall_ms(), forgotten_after);
        if handover.sloppy && !keyspace.allow_sloppy && may_be_forgotten {
            return Taken::Refused;
        }
        let address = KeyAddress::of(placement, keyspace.clone(), handover.key);
        // A copy that is being given up must not be where the only copy of a write ends.
        if !own.is_some_and(|own| takes_writes(placement, address.partition(), own)) {
            return Taken::NotOwner;
        }
        if mistake::is_made(Mistake::ReplayMints) {
            self.0
                .replica
                .mint_as_its_own(&address, &state, deadline, placement.epoch())
                .await;
        }
        let merge = Merge {
            address,
            state,
            deadline,
            fence: placement.epoch(),
        };
        match self.0.replica.merge(merge).await {
            Ok(_) => Taken::Applied,
            Err(ReplicaError::NotOwner { .. }) => Taken::NotOwner,
            Err(error) => {
                tracing::debug!(%error, "a hint was not taken");
                Taken::Failed
            }
        }
    }
}
