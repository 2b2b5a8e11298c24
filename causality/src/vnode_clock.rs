//! A vnode's supply of key epochs, with a durable lease (rules V1, V2 and V5).
//!
//! The owner of the vnode keeps the [`VnodeRecord`] on the vnode's disk:
//! - [`VnodeClock::create`] for new, wiped, rebuilt or restored data, under a new random id;
//! - [`VnodeClock::open`] at every start;
//! - whenever [`VnodeClock::needs_lease`] gives a record: make it durable, then [`VnodeClock::lease_granted`];
//! - at a clean stop, when all data is durable: make the record of [`VnodeClock::close`] durable.
//!
//! Invariant: an epoch is used only under a lease that is already durable, so no epoch is used before and after
//! a restart unless the restart was clean.

use thiserror::Error;

use crate::codec::CodecError;
use crate::dot::{KeyEpoch, VnodeId};
use crate::wire::{Reader, put_varint};

/// Number of epochs that one durable lease covers.
pub const EPOCH_LEASE: u32 = 10_000;

/// A new lease is asked for when so many epochs are left, so that writes need not wait for it.
const LEASE_LOW: u32 = EPOCH_LEASE / 4;

const FIRST_EPOCH: u32 = 1;
const RECORD_FORMAT: u8 = 1;

/// A rule of [`crate::minting`], to be switched off in this crate's ablation tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "ablation"),
    expect(unreachable_pub, reason = "offered to the ablation tests only")
)]
pub enum Rule {
    /// V3: a fresh epoch when the key is absent here.
    FreshEpochWhenAbsent,
    /// V4: an event without a value when this vnode has forgotten.
    EventAfterAmnesia,
    /// V5: no epoch is used on after an unclean start.
    DistrustAfterUncleanStart,
    /// V6: an epoch for each live sibling.
    EpochForEachSibling,
    /// Key epochs at all; without, one counter for the whole vnode under a fixed actor.
    KeyEpochs,
}

/// What a vnode keeps on disk of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VnodeRecord {
    /// Identity of the vnode's data.
    pub vnode_id: VnodeId,
    /// First epoch not yet used when the record was made.
    pub next_key_epoch: u32,
    /// First epoch that may not be used under this record; equal to `next_key_epoch` after a clean stop.
    pub lease_end: u32,
    /// Epochs below may have lost events and are never used again.
    pub min_valid_epoch: u32,
}

impl VnodeRecord {
    /// The record as bytes, beginning with a format version.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![RECORD_FORMAT];
        out.extend_from_slice(&self.vnode_id.0.to_le_bytes());
        for number in [self.next_key_epoch, self.lease_end, self.min_valid_epoch] {
            put_varint(&mut out, u64::from(number));
        }
        out
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        reader.format(RECORD_FORMAT)?;
        let record = Self {
            vnode_id: VnodeId(reader.u64()?),
            next_key_epoch: reader.varint_u32()?,
            lease_end: reader.varint_u32()?,
            min_valid_epoch: reader.varint_u32()?,
        };
        reader.end()?;
        if record.next_key_epoch > record.lease_end || record.min_valid_epoch > record.lease_end {
            return Err(CodecError::Invalid {
                what: "vnode record's epochs are out of order",
            });
        }
        Ok(record)
    }
}

/// Why no fresh epoch could be taken. Nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EpochError {
    /// Retry after the record of [`VnodeClock::needs_lease`] is durable and granted.
    #[error(
        "vnode {vnode} has used up its lease of key epochs at {lease_end}; make a new lease durable and retry"
    )]
    LeaseExhausted {
        /// The vnode.
        vnode: VnodeId,
        /// End of the lease.
        lease_end: u32,
    },
    /// The vnode must be rebuilt under a new id.
    #[error("vnode {vnode} has used up all its key epochs; rebuild it under a new id")]
    Exhausted {
        /// The vnode.
        vnode: VnodeId,
    },
    /// An event of this vnode came in from elsewhere under an epoch that this vnode has not used yet: its record
    /// is older than its history (a restored snapshot, a copied disk). It must be rebuilt under a new id.
    #[error(
        "vnode {vnode} has not used key epoch {seen} yet, but others know it: its record was rolled back; rebuild it under a new id"
    )]
    RolledBack {
        /// The vnode.
        vnode: VnodeId,
        /// The epoch that others know.
        seen: u32,
    },
}

impl EpochError {
    /// Whether the same call can succeed later without rebuilding the vnode.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::LeaseExhausted { .. })
    }
}

/// A vnode's supply of key epochs. Calls on one key must be serialised by the owner, each with the state that
/// the one before gave back, whether it is durable yet or not.
#[derive(Clone, Debug)]
pub struct VnodeClock {
    pub(crate) vnode_id: VnodeId,
    next_key_epoch: u32,
    lease_end: u32,
    pub(crate) min_valid_epoch: u32,
    #[cfg(feature = "ablation")]
    switched_off: Option<Rule>,
}

impl VnodeClock {
    /// The clock of a vnode without data. `id` must be random and never used before (V1).
    pub fn create(id: VnodeId) -> Self {
        Self::starting(id, FIRST_EPOCH, FIRST_EPOCH)
    }

    /// The clock of a vnode that has been open before.
    ///
    /// `clean`: every write that the vnode ever let out is on its disk. It is believed only of a record of
    /// [`Self::close`]. Otherwise the rest of the lease is skipped (V2), and all epochs used so far end: a dot may
    /// have reached peers, but not this disk (V5).
    pub fn open(persisted: VnodeRecord, clean: bool) -> Self {
        let clean = clean && persisted.next_key_epoch == persisted.lease_end;
        let min_valid = if clean {
            persisted.min_valid_epoch
        } else {
            persisted.lease_end
        };
        Self::starting(persisted.vnode_id, persisted.lease_end, min_valid)
    }

    fn starting(vnode_id: VnodeId, next_key_epoch: u32, min_valid_epoch: u32) -> Self {
        Self {
            vnode_id,
            next_key_epoch,
            lease_end: next_key_epoch,
            min_valid_epoch,
            #[cfg(feature = "ablation")]
            switched_off: None,
        }
    }

    /// Identity of the vnode's data.
    pub fn vnode_id(&self) -> VnodeId {
        self.vnode_id
    }

    /// A record to make durable now, when few epochs are left (always right after `create` and `open`).
    pub fn needs_lease(&self) -> Option<VnodeRecord> {
        let low = self.lease_end - self.next_key_epoch < LEASE_LOW && self.lease_end < u32::MAX;
        low.then(|| VnodeRecord {
            lease_end: self.next_key_epoch.saturating_add(EPOCH_LEASE),
            ..self.record()
        })
    }

    /// The record of [`Self::needs_lease`] is durable: its epochs may be used.
    pub fn lease_granted(&mut self, durable: &VnodeRecord) {
        if durable.vnode_id == self.vnode_id {
            self.lease_end = self.lease_end.max(durable.lease_end);
        }
    }

    /// The record of a clean stop: the rest of the lease is given back. Make it durable only after all data is.
    pub fn close(self) -> VnodeRecord {
        VnodeRecord {
            lease_end: self.next_key_epoch,
            ..self.record()
        }
    }

    /// A write of this vnode may have left the process and not reached its disk (a failed fsync, a lost batch):
    /// ends all epochs used so far, as an unclean restart would (V5).
    pub fn distrust_epochs(&mut self) {
        self.min_valid_epoch = self.next_key_epoch;
    }

    fn record(&self) -> VnodeRecord {
        VnodeRecord {
            vnode_id: self.vnode_id,
            next_key_epoch: self.next_key_epoch,
            lease_end: self.lease_end,
            min_valid_epoch: self.min_valid_epoch,
        }
    }

    /// An epoch that was never used.
    pub(crate) fn fresh_epoch(&mut self) -> Result<KeyEpoch, EpochError> {
        let (vnode, lease_end) = (self.vnode_id, self.lease_end);
        if self.next_key_epoch == u32::MAX {
            return Err(EpochError::Exhausted { vnode });
        }
        if self.next_key_epoch >= lease_end {
            return Err(EpochError::LeaseExhausted { vnode, lease_end });
        }
        let fresh = KeyEpoch(self.next_key_epoch);
        self.next_key_epoch += 1;
        Ok(fresh)
    }

    /// Whether this vnode can have used the epoch.
    pub(crate) fn check_used(&self, epoch: KeyEpoch) -> Result<(), EpochError> {
        if epoch.0 < self.next_key_epoch {
            return Ok(());
        }
        Err(EpochError::RolledBack {
            vnode: self.vnode_id,
            seen: epoch.0,
        })
    }

    /// Switches one rule off, to show that it is needed; call it when a lease is granted.
    ///
    /// A vnode without fresh epochs for absent keys mints those under its first valid epoch.
    #[cfg(feature = "ablation")]
    #[must_use]
    pub fn without(mut self, rule: Option<Rule>) -> Self {
        self.switched_off = rule;
        if rule == Some(Rule::FreshEpochWhenAbsent) {
            self.next_key_epoch = self.next_key_epoch.max(self.min_valid_epoch + 1);
        }
        self
    }

    #[cfg(feature = "ablation")]
    pub(crate) fn obeys(&self, rule: Rule) -> bool {
        self.switched_off != Some(rule)
    }

    #[cfg(not(feature = "ablation"))]
    #[expect(clippy::unused_self, reason = "the ablation build looks at it")]
    pub(crate) const fn obeys(&self, _rule: Rule) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(record: VnodeRecord, clean: bool) -> VnodeClock {
        let mut clock = VnodeClock::open(record, clean);
        let lease = clock.needs_lease().expect("a start needs a lease");
        clock.lease_granted(&lease);
        clock
    }

    fn created() -> VnodeClock {
        let clock = VnodeClock::create(VnodeId(7));
        opened(clock.close(), true)
    }

    #[test]
    fn no_epoch_without_a_durable_lease() {
        let mut clock = VnodeClock::create(VnodeId(7));
        let error = clock.fresh_epoch().unwrap_err();
        assert!(error.is_retryable(), "{error}");
        let lease = clock.needs_lease().unwrap();
        clock.lease_granted(&lease);
        assert_eq!(clock.fresh_epoch(), Ok(KeyEpoch(1)));
        assert_eq!(clock.needs_lease(), None);
    }

    #[test]
    fn lease_is_asked_for_before_it_ends_and_holds_to_its_last_epoch() {
        let mut clock = created();
        let mut asked_after = None;
        for used in 1..=EPOCH_LEASE {
            clock.fresh_epoch().unwrap();
            if clock.needs_lease().is_some() {
                asked_after.get_or_insert(used);
            }
        }
        assert_eq!(asked_after, Some(EPOCH_LEASE - LEASE_LOW + 1));
        assert!(clock.fresh_epoch().is_err());
    }

    #[test]
    fn clean_restart_goes_on_with_the_same_epochs() {
        let mut clock = created();
        let used = clock.fresh_epoch().unwrap();
        let mut clock = opened(clock.close(), true);
        assert_eq!(clock.min_valid_epoch, FIRST_EPOCH);
        assert_eq!(clock.fresh_epoch(), Ok(KeyEpoch(used.0 + 1)));
    }

    #[test]
    fn unclean_restart_skips_the_lease_and_ends_all_used_epochs() {
        let mut clock = VnodeClock::create(VnodeId(7));
        let lease = clock.needs_lease().unwrap();
        clock.lease_granted(&lease);
        clock.fresh_epoch().unwrap();
        for clean in [true, false] {
            // A record with an open lease is not from a clean stop, whatever the owner says.
            let mut clock = opened(lease, clean);
            assert_eq!(clock.min_valid_epoch, lease.lease_end);
            assert_eq!(clock.fresh_epoch(), Ok(KeyEpoch(lease.lease_end)));
        }
    }

    #[test]
    fn epochs_end_before_they_wrap() {
        let last = u32::MAX - 1;
        let record = VnodeRecord {
            vnode_id: VnodeId(7),
            next_key_epoch: last,
            lease_end: last,
            min_valid_epoch: 1,
        };
        let mut clock = opened(record, true);
        assert_eq!(clock.fresh_epoch(), Ok(KeyEpoch(last)));
        assert_eq!(
            clock.fresh_epoch(),
            Err(EpochError::Exhausted { vnode: VnodeId(7) })
        );
        assert_eq!(clock.needs_lease(), None);
    }

    #[test]
    fn record_survives_its_encoding() {
        let record = VnodeRecord {
            vnode_id: VnodeId(7),
            next_key_epoch: 300,
            lease_end: 10_300,
            min_valid_epoch: 1,
        };
        let bytes = record.encode();
        assert_eq!(bytes, [1, 7, 0, 0, 0, 0, 0, 0, 0, 0xac, 2, 0xbc, 0x50, 1]);
        assert_eq!(VnodeRecord::decode(&bytes), Ok(record));
        for end in 0..bytes.len() {
            assert!(VnodeRecord::decode(&bytes[..end]).is_err());
        }
    }
}
