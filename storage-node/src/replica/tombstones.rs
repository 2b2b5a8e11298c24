//! When deleted keys and expired values may go, and the operations that let them go.
//!
//! The replica's part of reclaiming (`docs/protocol/deletes.md`): it confirms that it holds a tombstone, on
//! disk; it removes one if nothing has changed since; it drops the bytes of values that have expired. The
//! decisions are pure; the committer performs them in the key's turn.
//!
//! Invariants: a record is removed only while it is to the byte what all owners confirmed, by the vnode that
//! confirmed it, and old by this node's own clock, whoever asks; a vnode that lacks its data does none of
//! this; an expired value's dot stays.
//!
//! Leaves to others: asking all owners, and waiting between the two phases (`reaping`).

use std::time::Duration;

use annulus_causality::{KeyState, VnodeId};
use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::RingEpoch;
use bytes::Bytes;
use tokio::time::Instant;

use super::address::KeyAddress;
use crate::clock::milliseconds;
use crate::mistake::{self, Mistake};

/// When deleted keys and expired values may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TombstoneRule {
    /// A key of which nothing has been a value for so long may be removed.
    pub age: Duration,
    /// Wall clocks differ by so much at most: an expired value is kept for so long.
    pub max_clock_skew: Duration,
}

impl Default for TombstoneRule {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(24 * 3600),
            max_clock_skew: Duration::from_secs(600),
        }
    }
}

impl TombstoneRule {
    /// Whether a key may be removed once all its owners hold just this.
    pub fn is_due(&self, state: &KeyState, now_ms: u64) -> bool {
        self.due_in(state, now_ms)
            .is_some_and(|left| left.is_zero())
    }

    /// How long a key without values must still be kept; `None`: it has a value.
    pub fn due_in(&self, state: &KeyState, now_ms: u64) -> Option<Duration> {
        let due_ms = state.ended_at_ms()?.saturating_add(milliseconds(self.age));
        Some(Duration::from_millis(due_ms.saturating_sub(now_ms)))
    }

    /// Values whose time was over before this may be dropped.
    pub fn expired_before_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(milliseconds(self.max_clock_skew))
    }
}

/// What is to be done to one key.
#[derive(Debug, Clone)]
pub struct Reclaim {
    /// Where.
    pub address: KeyAddress,
    /// What.
    pub step: ReclaimStep,
    /// Not begun after that.
    pub deadline: Instant,
    /// The placement's epoch under which it was asked for.
    pub fence: RingEpoch,
}

/// One step of reclaiming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReclaimStep {
    /// Phase 1: does this replica hold, on disk, a due tombstone with this digest of its record?
    Confirm {
        /// Of the record.
        digest: u128,
    },
    /// Phase 2: removes it, if it is still that.
    Remove {
        /// Of the record.
        digest: u128,
        /// The vnode that confirmed.
        vnode: VnodeId,
    },
    /// Drops the bytes of expired values.
    DropExpired,
}

/// What a replica found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reclaimed {
    /// The record is what was named; it is on disk, or was removed.
    Same {
        /// The vnode that says so.
        vnode: VnodeId,
    },
    /// There is no record of the key.
    Absent {
        /// The vnode that says so.
        vnode: VnodeId,
    },
    /// There is another record, or it is not due by this node's clock, or another vnode. Nothing was done.
    Other,
    /// So many values were dropped.
    Dropped {
        /// Number of values.
        values: usize,
        /// Their bytes.
        bytes: usize,
    },
}

/// What a replica holds of a key whose tombstone was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TombstoneFound {
    /// Just that; or it was that and is removed now.
    Same,
    /// No record.
    Absent,
    /// Another record, or it is not due by the replica's clock.
    Other,
    /// A record that can't be read back.
    Damaged,
}

/// What a vnode holds of several keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TombstonesFound {
    /// The vnode; `None` when it has no record that could tell.
    pub vnode: Option<VnodeId>,
    /// In the order in which it was asked.
    pub found: Vec<TombstoneFound>,
}

/// What the committer does for a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Answers, once what it has looked at is on disk.
    Sync(Reclaimed),
    /// Answers.
    Keep(Reclaimed),
    /// Removes the record.
    Remove(Reclaimed),
    /// Writes this instead.
    Write(Box<KeyState>, Reclaimed),
}

/// Decides a step on the local state.
pub(crate) fn decide(
    rule: TombstoneRule,
    vnode: VnodeId,
    local: Option<&KeyState>,
    step: ReclaimStep,
    now_ms: u64,
) -> Decision {
    let Some(local) = local else {
        return Decision::Keep(match step {
            ReclaimStep::DropExpired => Reclaimed::Dropped {
                values: 0,
                bytes: 0,
            },
            ReclaimStep::Confirm { .. } | ReclaimStep::Remove { .. } => Reclaimed::Absent { vnode },
        });
    };
    let is_named = |digest| rule.is_due(local, now_ms) && local.record_digest() == digest;
    match step {
        ReclaimStep::Confirm { digest } if is_named(digest) => {
            Decision::Sync(Reclaimed::Same { vnode })
        }
        ReclaimStep::Remove {
            digest,
            vnode: confirmed,
        } if (vnode == confirmed && is_named(digest))
            || mistake::is_made(Mistake::RemoveWhatChanged) =>
        {
            Decision::Remove(Reclaimed::Same { vnode })
        }
        ReclaimStep::Confirm { .. } | ReclaimStep::Remove { .. } => {
            Decision::Keep(Reclaimed::Other)
        }
        ReclaimStep::DropExpired => drop_expired(rule, vnode, local, now_ms),
    }
}

fn drop_expired(rule: TombstoneRule, vnode: VnodeId, local: &KeyState, now_ms: u64) -> Decision {
    let mut kept = local.clone();
    let values = kept.drop_expired(rule.expired_before_ms(now_ms));
    let bytes = local.value_bytes() - kept.value_bytes();
    let dropped = Reclaimed::Dropped { values, bytes };
    if values == 0 {
        Decision::Keep(dropped)
    } else if kept.ended_at_ms().is_some() && mistake::is_made(Mistake::ExpiryRemovesRecord) {
        Decision::Remove(Reclaimed::Same { vnode })
    } else {
        Decision::Write(Box::new(kept), dropped)
    }
}

/// Something in a scanned vnode that is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The keyspace.
    pub keyspace: KeyspaceName,
    /// The key.
    pub key: Key,
    /// What it has.
    pub state: KeyState,
    /// Bytes of key and record.
    pub bytes: usize,
}

/// A part of a vnode.
#[derive(Debug, Default)]
pub struct ScanPage {
    /// Keys without values, and keys with values that may be dropped.
    pub findings: Vec<Finding>,
    /// Records that can't be read.
    pub damaged: usize,
    /// Bytes that were read.
    pub bytes: usize,
    /// Where to go on; `None`: this was the last part.
    pub next: Option<Bytes>,
}

#[cfg(test)]
mod tests {
    use annulus_causality::{
        ConflictPolicy, Content, HlcStamp, NewWrite, VersionVector, VnodeClock,
    };
    use proptest::prelude::*;

    use super::*;

    const VNODE: VnodeId = VnodeId(7);

    const RULE: TombstoneRule = TombstoneRule {
        age: Duration::from_secs(1),
        max_clock_skew: Duration::from_millis(100),
    };

    /// A key with one blind write each: when, whether it has a value, and when that expires.
    fn state(writes: &[(u64, bool, Option<u64>)]) -> KeyState {
        let mut clock = VnodeClock::create(VNODE);
        let lease = clock.needs_lease().unwrap();
        clock.lease_granted(&lease);
        let mut state = None;
        for (number, (ms, is_value, expires_at_ms)) in writes.iter().enumerate() {
            let write = NewWrite {
                content: if *is_value {
                    Content::Value(Bytes::from_static(b"value"))
                } else {
                    Content::Tombstone
                },
                stamp: HlcStamp::at_ms(ms + 10_000 * number as u64),
                expires_at_ms: *expires_at_ms,
                request_id: None,
            };
            let nothing = VersionVector::new();
            let minted = clock.mint(state.as_ref(), &nothing, write, ConflictPolicy::Siblings);
            state = Some(minted.unwrap().state);
        }
        state.unwrap()
    }

    fn remove(state: &KeyState, now_ms: u64) -> Decision {
        let step = ReclaimStep::Remove {
            digest: state.record_digest(),
            vnode: VNODE,
        };
        decide(RULE, VNODE, Some(state), step, now_ms)
    }

    #[test]
    fn a_tombstone_goes_when_it_is_old_and_not_before() {
        let gone = state(&[(5000, false, None)]);
        assert_eq!(remove(&gone, 5999), Decision::Keep(Reclaimed::Other));
        let same = Reclaimed::Same { vnode: VNODE };
        assert_eq!(remove(&gone, 6000), Decision::Remove(same));
        assert_eq!(RULE.due_in(&gone, 5400), Some(Duration::from_millis(600)));
    }

    #[test]
    fn a_value_never_goes_whatever_its_age() {
        for kept in [
            state(&[(5000, true, None)]),
            state(&[(5000, false, None), (5000, true, None)]),
        ] {
            assert_eq!(remove(&kept, u64::MAX), Decision::Keep(Reclaimed::Other));
        }
    }

    #[test]
    fn only_the_vnode_that_confirmed_removes_and_only_what_was_confirmed() {
        let gone = state(&[(5000, false, None)]);
        let other = state(&[(5001, false, None)]);
        for (digest, vnode) in [
            (gone.record_digest(), VnodeId(8)),
            (other.record_digest(), VNODE),
        ] {
            let step = ReclaimStep::Remove { digest, vnode };
            let decision = decide(RULE, VNODE, Some(&gone), step, 9000);
            assert_eq!(decision, Decision::Keep(Reclaimed::Other));
        }
    }

    #[test]
    fn an_expired_value_leaves_a_tombstone_that_ages_from_its_expiry() {
        let local = state(&[(5000, true, Some(7000))]);
        let step = ReclaimStep::DropExpired;
        let nothing = Reclaimed::Dropped {
            values: 0,
            bytes: 0,
        };
        assert_eq!(
            decide(RULE, VNODE, Some(&local), step, 7099),
            Decision::Keep(nothing)
        );
        let Decision::Write(kept, dropped) = decide(RULE, VNODE, Some(&local), step, 7100) else {
            panic!("it has expired");
        };
        let (values, bytes) = (1, 5);
        assert_eq!(dropped, Reclaimed::Dropped { values, bytes });
        assert_eq!(kept.digest(), local.digest(), "expiry changes no hash");
        assert_eq!(kept.ended_at_ms(), Some(7000));
        assert_eq!(remove(&kept, 7999), Decision::Keep(Reclaimed::Other));
        assert!(matches!(remove(&kept, 8000), Decision::Remove(_)));
    }

    proptest! {
        #[test]
        fn nothing_is_removed_that_is_young_or_has_a_value(
            writes in prop::collection::vec((0..5000_u64, any::<bool>(), prop::option::of(0..40_000_u64)), 1..4),
            now_ms in 0..80_000_u64,
        ) {
            let state = state(&writes);
            let is_old = |sibling: &annulus_causality::Sibling| {
                let end = sibling.stamp.ms().max(sibling.expires_at_ms.unwrap_or(0));
                sibling.content == Content::Tombstone && end + 1000 <= now_ms
            };
            let may_go = state.siblings().iter().all(is_old);
            prop_assert_eq!(matches!(remove(&state, now_ms), Decision::Remove(_)), may_go);
        }
    }
}
