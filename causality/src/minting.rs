//! Naming new events: rules V1 to V6, so that a dot never names two values and no clock covers what it never saw.
//!
//! - V1: a vnode's id stands for one unbroken memory; new, wiped, rebuilt or restored data gets a new id.
//! - V2: key epochs come from a durable, leased counter of the vnode ([`VnodeClock`]).
//! - V3: an event is minted under a fresh epoch (counter 1) when the key is absent here, or the context knows a
//!   later event of this vnode than this vnode does, or the epoch is from before an unclean start.
//! - V4: when a replica's state knows a later event of this vnode than this vnode does, the vnode has forgotten;
//!   it adds an event without a value under a fresh epoch, and its copy wants repair.
//! - V5: an unclean start ends all epochs used before it, so a write may go to peers and to disk in parallel.
//! - V6: an event is minted under an epoch none of whose events is still a sibling here. A client is told the clock
//!   of its own write, which covers all earlier events of the write's actor: one of them that is still a sibling,
//!   and that the client was never shown, would be replaced by its next write.
//!
//! V6 lets a vnode have several epochs of a key in use at a time, one for each of its live siblings. So epochs are
//! of two kinds, told apart by their last bit: odd ones begin a memory of the key (V3, V4, V5), even ones were
//! added to it (V6). In use are the last odd one of a key's clock and the even ones after it; what came before
//! may have been forgotten. An epoch whose siblings are gone is used again, so a clock has no more of them than
//! the key once had siblings.
//!
//! `tests/minting_model.rs` shows that each rule is needed. Why not one counter for the whole vnode: its later
//! dots would falsely cover earlier, forgotten ones, and acknowledged siblings would be lost.
//!
//! Only an owner of the key mints, never a fallback; that is the caller's part. Minting fails before anything
//! happened ("rejected"); receiving never refuses a merge for its size, convergence beats bounds.

use thiserror::Error;

use crate::dot::{Actor, Dot, KeyEpoch, VnodeId};
use crate::hlc::HlcStamp;
use crate::key_state::KeyState;
use crate::sibling::{Content, RequestId, Sibling};
use crate::version_vector::VersionVector;
use crate::vnode_clock::{EpochError, Rule, VnodeClock};

/// Number of siblings from which on a key's state is worth a warning.
pub const SIBLINGS_WARN: usize = 10;

/// Number of siblings that writes may build up on a key.
pub const SIBLINGS_MAX: usize = 64;

/// Bytes of all a key's values together that writes may build up beside other siblings.
pub const KEY_BYTES_MAX: usize = 4 << 20;

/// What becomes of concurrent writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConflictPolicy {
    /// Readers see all of them.
    Siblings,
    /// The largest `(stamp, dot)` wins; a write replaces everything its vnode knows.
    Lww,
}

/// A write to be given its dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWrite {
    /// Value or tombstone.
    pub content: Content,
    /// A tick of the node's [`crate::HlcClock`] above [`KeyState::max_stamp`] of the local state.
    pub stamp: HlcStamp,
    /// Absolute wall time of expiry, milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// The client's name of the write, the same for each retry.
    pub request_id: Option<RequestId>,
}

/// A write that has its dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    /// The key's new state, to be made durable here and sent to the other owners.
    pub state: KeyState,
    /// The write's event.
    pub dot: Dot,
    /// The request was known already: `state` is the local one, unchanged, and `dot` the event it became then.
    pub replayed: bool,
}

impl Minted {
    /// Whether the key has [`SIBLINGS_WARN`] siblings or more.
    pub fn has_many_siblings(&self) -> bool {
        self.state.siblings().len() >= SIBLINGS_WARN
    }
}

/// Another replica's knowledge, merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The key's state.
    pub state: KeyState,
    /// Whether it differs from the local one and has to be made durable.
    pub changed: bool,
    /// V4 took place: this vnode had forgotten events of its own. Its copy should be repaired.
    pub amnesia: bool,
}

/// Why a write got no dot. All of them mean "rejected": nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MintError {
    /// Read, merge the siblings and write with the context of the read; the write itself was fine.
    #[error(
        "key would have {siblings} concurrent siblings of {bytes} bytes (limits {SIBLINGS_MAX} and {KEY_BYTES_MAX}); \
         read it, merge them and write with the context of that read"
    )]
    SiblingLimit {
        /// Siblings with the write.
        siblings: usize,
        /// Bytes of their values.
        bytes: usize,
    },
    /// Last writer wins, and the client has seen what this vnode has not: merge the state of a read quorum
    /// into the local one, then retry. Otherwise the write might lose to what it replaces.
    #[error(
        "context knows writes that vnode state does not; merge a quorum read into it and retry"
    )]
    ContextAhead,
    /// The stamp is not above the siblings that are here (invariant I5): tick above `floor` and retry.
    #[error("stamp {stamp} is not above {floor}, the largest of the key's siblings")]
    StampTooLow {
        /// The write's stamp.
        stamp: HlcStamp,
        /// The largest stamp here.
        floor: HlcStamp,
    },
    /// There was no epoch for the write.
    #[error(transparent)]
    Epoch(#[from] EpochError),
}

impl VnodeClock {
    /// Gives a write its dot: applies the client's context to the local state, then adds the event.
    ///
    /// `local` is `None` when the vnode has no record of the key; `context` is empty for a blind write. The order
    /// (context into the local state first, then mint) keeps the vnode's own events totally ordered. A request id
    /// that the key still knows gets its first answer again.
    pub fn mint(
        &mut self,
        local: Option<&KeyState>,
        context: &VersionVector,
        write: NewWrite,
        policy: ConflictPolicy,
    ) -> Result<Minted, MintError> {
        if let Some((known, dot)) = find_replay(local, &write) {
            return Ok(Minted {
                state: known.clone(),
                dot,
                replayed: true,
            });
        }
        let mut state = local.cloned().unwrap_or_default();
        check_stamp(&state, &write)?;
        match policy {
            ConflictPolicy::Siblings => state.discard(context),
            ConflictPolicy::Lww if !state.clock.descends(context) => {
                return Err(MintError::ContextAhead);
            }
            ConflictPolicy::Lww => state.siblings.clear(),
        }
        check_limits(&state, local, &write)?;
        let dot = self.next_dot(local, context, &state)?;
        let NewWrite {
            content,
            stamp,
            expires_at_ms,
            request_id,
        } = write;
        state.add(Sibling {
            dot,
            content,
            stamp,
            expires_at_ms,
            request_id,
        });
        Ok(Minted {
            state,
            dot,
            replayed: false,
        })
    }

    /// Merges what another replica sent (a write, read repair, a hint, anti-entropy, a transfer) into the local
    /// state. Idempotent: the same message again changes nothing.
    pub fn receive(
        &mut self,
        local: Option<&KeyState>,
        incoming: KeyState,
        policy: ConflictPolicy,
    ) -> Result<Received, EpochError> {
        let nothing = VersionVector::new();
        let remembered = local.map_or(&nothing, |local| &local.clock);
        let told = incoming.clock.latest_of(self.vnode_id);
        let amnesia = self.has_forgotten(remembered, &incoming.clock)
            && self.obeys(Rule::EventAfterAmnesia)
            && self.obeys(Rule::KeyEpochs);
        let mut state = match local {
            Some(local) => {
                let mut state = local.clone();
                state.sync(&incoming);
                state
            }
            None => incoming,
        };
        if policy == ConflictPolicy::Lww {
            state.reduce_lww();
        }
        if let (true, Some(told)) = (amnesia, told) {
            self.check_used(told.actor.epoch)?;
            let epoch = self.fresh_epoch_of(EpochKind::Begins)?;
            state.clock.insert(Actor::new(self.vnode_id, epoch).dot(1));
        }
        // Values too: one side may have dropped an expired one.
        let unchanged = local.is_some_and(|local| *local == state);
        Ok(Received {
            state,
            changed: !unchanged,
            amnesia,
        })
    }

    /// The name of the vnode's next event on a key (V3, V6). `rest`: the state that the event is added to.
    fn next_dot(
        &mut self,
        local: Option<&KeyState>,
        context: &VersionVector,
        rest: &KeyState,
    ) -> Result<Dot, EpochError> {
        let vnode = self.vnode_id;
        if !self.obeys(Rule::KeyEpochs) {
            let counter = u64::from(self.fresh_epoch()?.0);
            return Ok(Actor::new(vnode, KeyEpoch(0)).dot(counter));
        }
        if let Some(seen) = context.latest_of(vnode) {
            self.check_used(seen.actor.epoch)?;
        }
        let kind = match local {
            None if !self.obeys(Rule::FreshEpochWhenAbsent)
                && context.latest_of(vnode).is_none() =>
            {
                return Ok(Actor::new(vnode, KeyEpoch(self.min_valid_epoch)).dot(1));
            }
            Some(local) if !self.has_forgotten(&local.clock, context) => {
                let used = self.epochs_in_use(&local.clock);
                let free = used.clone().find(|last| self.is_free(*last, rest));
                if let Some(next) =
                    free.and_then(|last| Some(last.actor.dot(last.counter.checked_add(1)?)))
                {
                    return Ok(next);
                }
                if used.count() > 0 {
                    EpochKind::Added
                } else {
                    EpochKind::Begins
                }
            }
            _ => EpochKind::Begins,
        };
        Ok(Actor::new(vnode, self.fresh_epoch_of(kind)?).dot(1))
    }

    /// The latest event in each epoch that this vnode may go on with on a key.
    fn epochs_in_use<'a>(
        &self,
        remembered: &'a VersionVector,
    ) -> impl Iterator<Item = Dot> + Clone + use<'a> {
        let mut first = beginning(remembered, self.vnode_id);
        if self.obeys(Rule::DistrustAfterUncleanStart) {
            first = first.max(KeyEpoch(self.min_valid_epoch));
        }
        let events = remembered.events_of(self.vnode_id);
        events.filter(move |last| last.actor.epoch >= first)
    }

    /// Whether somebody knows events of this vnode on a key, in its present memory or after it, that this vnode
    /// does not.
    fn has_forgotten(&self, remembered: &VersionVector, told: &VersionVector) -> bool {
        let first = beginning(remembered, self.vnode_id);
        told.events_of(self.vnode_id)
            .any(|event| event.actor.epoch >= first && !remembered.covers(event))
    }

    fn is_free(&self, last: Dot, rest: &KeyState) -> bool {
        let is_taken = |sibling: &Sibling| sibling.dot.actor == last.actor;
        !self.obeys(Rule::EpochForEachSibling) || !rest.siblings().iter().any(is_taken)
    }

    fn fresh_epoch_of(&mut self, kind: EpochKind) -> Result<KeyEpoch, EpochError> {
        loop {
            let epoch = self.fresh_epoch()?;
            if EpochKind::of(epoch) == kind {
                return Ok(epoch);
            }
        }
    }
}

/// Why an epoch was taken; its last bit says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EpochKind {
    /// Nothing is remembered, or not all: odd.
    Begins,
    /// All other epochs in use have live siblings: even.
    Added,
}

impl EpochKind {
    const fn of(epoch: KeyEpoch) -> Self {
        if epoch.0 % 2 == 1 {
            Self::Begins
        } else {
            Self::Added
        }
    }
}

/// The epoch with which a vnode's present memory of a key begins.
fn beginning(remembered: &VersionVector, vnode: VnodeId) -> KeyEpoch {
    let epochs = remembered.events_of(vnode).map(|event| event.actor.epoch);
    let last = epochs
        .rev()
        .find(|epoch| EpochKind::of(*epoch) == EpochKind::Begins);
    last.unwrap_or(KeyEpoch(0))
}

fn find_replay<'a>(local: Option<&'a KeyState>, write: &NewWrite) -> Option<(&'a KeyState, Dot)> {
    let local = local?;
    let dot = local.known_request(write.request_id?)?;
    Some((local, dot))
}

fn check_stamp(state: &KeyState, write: &NewWrite) -> Result<(), MintError> {
    match state.max_stamp() {
        Some(floor) if write.stamp <= floor => Err(MintError::StampTooLow {
            stamp: write.stamp,
            floor,
        }),
        _ => Ok(()),
    }
}

/// `rest` is what the write leaves beside it. Writes that make a key smaller always pass.
fn check_limits(
    rest: &KeyState,
    local: Option<&KeyState>,
    write: &NewWrite,
) -> Result<(), MintError> {
    let (siblings_before, bytes_before) = local.map_or((0, 0), |local| {
        (local.siblings().len(), local.value_bytes())
    });
    let siblings = rest.siblings().len() + 1;
    let bytes = rest.value_bytes() + write.content.len();
    let too_many = siblings > SIBLINGS_MAX && siblings > siblings_before;
    let too_big = siblings > 1 && bytes > KEY_BYTES_MAX && bytes > bytes_before;
    if too_many || too_big {
        return Err(MintError::SiblingLimit { siblings, bytes });
    }
    Ok(())
}

#[cfg(test)]
#[path = "minting_test.rs"]
mod tests;
