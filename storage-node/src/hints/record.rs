//! A hint on disk.
//!
//! Key: `target (16) | stored key`, so that one target's hints are one range, in the order of the
//! partitions and hashes in which the target keeps the keys itself.
//! Record: `format (1) | crc32c (4, little-endian) | flags (1) | stamp (8, little-endian) | state`. The
//! checksum covers the key and all that follows it.
//!
//! This is a stored format.

use std::time::Duration;

use annulus_causality::{HlcStamp, KeyState};
use annulus_ring::NodeId;
use bytes::{BufMut as _, Bytes, BytesMut};
use uuid::Uuid;

use crate::keyspace::ConflictPolicy;
use crate::mistake::{self, Mistake};
use crate::storage::KeyRange;
use crate::storage::key_encoding::{self, DecodedKey};

const FORMAT: u8 = 1;
const TARGET_BYTES: usize = 16;
const CHECKED_BYTES: usize = 5;
const HEADER_BYTES: usize = CHECKED_BYTES + 1 + 8;
const SLOPPY: u8 = 1;

/// One key's state, kept for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hint {
    /// It was counted for an acknowledgement.
    pub(crate) sloppy: bool,
    /// The stamp of the write that it is about; of several, the oldest.
    pub(crate) written: HlcStamp,
    /// The key's state.
    pub(crate) state: KeyState,
}

/// The key of a hint.
pub(crate) fn key(target: NodeId, stored_key: &[u8]) -> Bytes {
    [&target.0.as_bytes()[..], stored_key].concat().into()
}

/// All hints of a target.
pub(crate) fn range_of(target: NodeId) -> KeyRange {
    KeyRange::with_prefix(target.0.as_bytes())
}

/// Whose a hint is, and the key as that node stores it.
#[cfg(feature = "simulation")]
pub(crate) fn hint_target(key: &[u8]) -> Option<(NodeId, &[u8])> {
    let (target, stored) = key.split_first_chunk::<TARGET_BYTES>()?;
    Some((NodeId(Uuid::from_bytes(*target)), stored))
}

/// Takes a hint's key apart; `None`: it is none, which means damage.
pub(crate) fn split_key(key: &Bytes) -> Option<(NodeId, DecodedKey)> {
    let (target, stored) = key.split_first_chunk::<TARGET_BYTES>()?;
    let decoded = key_encoding::decode(&key.slice_ref(stored))?;
    Some((NodeId(Uuid::from_bytes(*target)), decoded))
}

/// Whether a write is too old to be taken as a hint. What it was deleted by may be forgotten later.
pub(crate) fn is_expired(written: HlcStamp, now_ms: u64, ttl: Duration) -> bool {
    let age_ms = now_ms.saturating_sub(written.ms());
    u128::from(age_ms) > ttl.as_millis() && !mistake::is_made(Mistake::HintsNeverExpire)
}

impl Hint {
    /// The hint of a state that has just been written. `None`: it holds nothing that was written.
    pub(crate) fn of(state: KeyState, sloppy: bool) -> Option<Self> {
        Some(Self {
            sloppy,
            written: state.max_stamp()?,
            state,
        })
    }

    /// What is kept of two hints for the same target and key, this one being the older.
    ///
    /// A state that contains the other takes its place, with its own age. Of two that each know
    /// something else both are kept as one, which is as old as the older: a tombstone of a
    /// part of it may be as old as that.
    #[must_use]
    pub(crate) fn followed_by(self, next: Self, policy: ConflictPolicy) -> Self {
        let sloppy = self.sloppy || next.sloppy;
        if self.state.dominated_by(&next.state) {
            return Self { sloppy, ..next };
        }
        if next.state.dominated_by(&self.state) {
            return Self { sloppy, ..self };
        }
        let mut state = self.state;
        state.sync(&next.state);
        if policy == ConflictPolicy::Lww {
            state.reduce_lww();
        }
        Self {
            sloppy,
            written: self.written.min(next.written),
            state,
        }
    }

    /// As it is stored.
    pub(crate) fn encode(&self, key: &[u8]) -> Bytes {
        let state = self.state.encode();
        let mut rest = BytesMut::with_capacity(HEADER_BYTES + state.len());
        rest.put_u8(FORMAT);
        rest.put_u32_le(0);
        rest.put_u8(if self.sloppy { SLOPPY } else { 0 });
        rest.put_u64_le(self.written.0);
        rest.put(state);
        let crc = checksum(key, &rest[CHECKED_BYTES..]);
        rest[1..CHECKED_BYTES].copy_from_slice(&crc.to_le_bytes());
        rest.freeze()
    }

    /// Reads a stored hint; says what is wrong with one that is damaged.
    pub(crate) fn decode(key: &[u8], record: &Bytes) -> Result<Self, String> {
        let Some((header, state)) = record.split_first_chunk::<HEADER_BYTES>() else {
            return Err(format!("a hint of {} bytes has no header", record.len()));
        };
        let [format, c0, c1, c2, c3, flags, stamp @ ..] = *header;
        if format != FORMAT {
            return Err(format!("unknown form {format} of a hint"));
        }
        let stated = u32::from_le_bytes([c0, c1, c2, c3]);
        let actual = checksum(key, &record[CHECKED_BYTES..]);
        if stated != actual {
            return Err(format!(
                "checksum is {actual:08x}, the hint states {stated:08x}"
            ));
        }
        let state = KeyState::decode(&record.slice_ref(state));
        Ok(Self {
            sloppy: flags & SLOPPY != 0,
            written: HlcStamp(u64::from_le_bytes(stamp)),
            state: state.map_err(|error| error.to_string())?,
        })
    }
}

fn checksum(key: &[u8], rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), rest)
}

#[cfg(test)]
pub(super) mod tests {
    use annulus_causality::{Content, NewWrite, VersionVector, VnodeClock, VnodeId};
    use annulus_proto::model::{Key, KeyspaceName};
    use annulus_ring::{PartitionId, Token};
    use proptest::prelude::*;

    use super::*;

    /// The state that a vnode makes of a key with these writes, each without a context.
    pub(in crate::hints) fn state(vnode: u64, written_ms: &[u64]) -> KeyState {
        let mut clock = VnodeClock::create(VnodeId(vnode));
        let mut state = None;
        for ms in written_ms {
            if let Some(lease) = clock.needs_lease() {
                clock.lease_granted(&lease);
            }
            let write = NewWrite {
                content: Content::Value(Bytes::from(format!("{vnode}/{ms}"))),
                stamp: HlcStamp::at_ms(*ms),
                expires_at_ms: None,
                request_id: None,
            };
            let policy = ConflictPolicy::Siblings.into();
            let minted = clock.mint(state.as_ref(), &VersionVector::new(), write, policy);
            state = Some(minted.unwrap().state);
        }
        state.unwrap()
    }

    pub(in crate::hints) fn hint(vnode: u64, written_ms: &[u64]) -> Hint {
        Hint::of(state(vnode, written_ms), false).unwrap()
    }

    fn some_key() -> Bytes {
        let target = NodeId(Uuid::from_u128(7));
        let (space, name) = (KeyspaceName::kv(), Key::new("k".to_owned()).unwrap());
        key(
            target,
            &key_encoding::encode(PartitionId(3), Token(9), &space, &name),
        )
    }

    #[test]
    fn a_hint_and_its_key_are_read_back() {
        let key = some_key();
        let (target, decoded) = split_key(&key).unwrap();
        assert_eq!(target, NodeId(Uuid::from_u128(7)));
        assert_eq!(
            (decoded.partition, decoded.token),
            (PartitionId(3), Token(9))
        );
        for sloppy in [false, true] {
            let hint = Hint {
                sloppy,
                ..hint(1, &[5, 9])
            };
            assert_eq!(Hint::decode(&key, &hint.encode(&key)), Ok(hint));
        }
        assert_eq!(split_key(&key.slice(..20)), None);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_seen() {
        let key = some_key();
        let whole = hint(1, &[5]).encode(&key);
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Hint::decode(&key, &damaged.into()).is_err(), "bit {bit}");
        }
        for end in 0..whole.len() {
            assert!(Hint::decode(&key, &whole.slice(..end)).is_err(), "{end}");
        }
        assert!(Hint::decode(b"other", &whole).is_err());
    }

    #[test]
    fn a_write_that_contains_the_earlier_takes_its_place_and_its_age_with_it() {
        let (earlier, later) = (hint(1, &[5]), hint(1, &[5, 90]));
        let policy = ConflictPolicy::Siblings;
        let kept = earlier.clone().followed_by(later.clone(), policy);
        assert_eq!(kept, later);
        let kept = later.clone().followed_by(earlier, policy);
        assert_eq!(kept, later, "a late copy of an older state changes nothing");
    }

    #[test]
    fn concurrent_writes_are_kept_as_one_as_old_as_the_older() {
        let (one, other) = (hint(1, &[50]), hint(2, &[90]));
        let sloppy = Hint {
            sloppy: true,
            ..other
        };
        let kept = one.followed_by(sloppy, ConflictPolicy::Siblings);
        assert_eq!(kept.state.siblings().len(), 2);
        assert_eq!((kept.written, kept.sloppy), (HlcStamp::at_ms(50), true));
    }

    proptest! {
        /// Whatever order hints come in, what is kept knows all that they know, and is as old as one of
        /// them that it still needs.
        #[test]
        fn nothing_that_was_kept_is_forgotten(writes in prop::collection::vec((1..4_u64, 1..5_u64), 1..8)) {
            let hints: Vec<_> = writes
                .iter()
                .map(|(vnode, count)| hint(*vnode, &(1..=*count).map(|n| n * 10).collect::<Vec<_>>()))
                .collect();
            let mut all = hints.iter().cloned();
            let first = all.next().unwrap();
            let kept = all.fold(first, |kept, next| kept.followed_by(next, ConflictPolicy::Siblings));
            for hint in &hints {
                prop_assert!(hint.state.dominated_by(&kept.state));
            }
            prop_assert!(hints.iter().any(|hint| hint.written == kept.written));
            prop_assert!(kept.written <= kept.state.max_stamp().unwrap());
        }

        #[test]
        fn age_is_that_of_the_stamp(written in 0..1000_u64, now in 0..3000_u64, ttl in 0..1500_u64) {
            let expired = is_expired(HlcStamp::at_ms(written), now, Duration::from_millis(ttl));
            prop_assert_eq!(expired, now > written + ttl);
        }
    }
}
