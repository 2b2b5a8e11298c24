//! How keys lie on disk: `partition (2, big-endian) | token (8, big-endian) | keyspace length (1)
//! | keyspace | key`.
//!
//! So a partition is one range, which can be scanned, moved and dropped on its own, and inside it
//! keys lie in the order of their hash, so that a leaf of a hash tree is one short range.
//!
//! This is a stored format: changing it orphans every key.

use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::{PartitionId, Token};
use bytes::Bytes;

use super::engine::KeyRange;

const PARTITION_BYTES: usize = size_of::<u16>();
const TOKEN_BYTES: usize = size_of::<u64>();

/// A key's place, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedKey {
    /// The partition.
    pub partition: PartitionId,
    /// The hash of keyspace and key.
    pub token: Token,
    /// The keyspace.
    pub keyspace: KeyspaceName,
    /// The key.
    pub key: Key,
}

/// The stored form of a key.
pub fn encode(partition: PartitionId, token: Token, keyspace: &KeyspaceName, key: &Key) -> Bytes {
    let name = keyspace.as_str().as_bytes();
    let length = u8::try_from(name.len()).expect("a keyspace's name has at most 63 bytes");
    let key = key.as_bytes();
    let mut stored = Vec::with_capacity(PARTITION_BYTES + TOKEN_BYTES + 1 + name.len() + key.len());
    stored.extend_from_slice(&partition.0.to_be_bytes());
    stored.extend_from_slice(&token.0.to_be_bytes());
    stored.push(length);
    stored.extend_from_slice(name);
    stored.extend_from_slice(key);
    stored.into()
}

/// Takes a stored key apart; `None` if it is none, which means damage.
pub fn decode(stored: &Bytes) -> Option<DecodedKey> {
    let (partition, rest) = stored.split_first_chunk::<PARTITION_BYTES>()?;
    let (token, rest) = rest.split_first_chunk::<TOKEN_BYTES>()?;
    let (length, rest) = rest.split_first()?;
    let (name, key) = rest.split_at_checked(usize::from(*length))?;
    Some(DecodedKey {
        partition: PartitionId(u16::from_be_bytes(*partition)),
        token: Token(u64::from_be_bytes(*token)),
        keyspace: KeyspaceName::new(std::str::from_utf8(name).ok()?).ok()?,
        key: Key::new(stored.slice_ref(key)).ok()?,
    })
}

/// All keys of a partition.
pub fn partition_range(partition: PartitionId) -> KeyRange {
    KeyRange::with_prefix(&partition.0.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(partition: u16, token: u64, keyspace: &str, key: &[u8]) -> Bytes {
        let keyspace = KeyspaceName::new(keyspace).unwrap();
        let key = Key::new(key.to_vec()).unwrap();
        encode(PartitionId(partition), Token(token), &keyspace, &key)
    }

    #[test]
    fn the_stored_form_never_changes() {
        let bytes = stored(0x0102, 0x0304_0506_0708_090a, "kv", b"k");
        assert_eq!(
            &bytes[..],
            b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x02kvk"
        );
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let whole = stored(1, 2, "kv", b"key");
        for cut in 0..=whole.len() - b"key".len() {
            assert_eq!(decode(&whole.slice(..cut)), None, "{cut} bytes");
        }
    }

    proptest! {
        #[test]
        fn order_on_disk_is_partition_then_token(
            a in any::<(u16, u64)>(), b in any::<(u16, u64)>(), key in "[a-z]{1,9}",
        ) {
            let [left, right] = [a, b].map(|(p, t)| stored(p, t, "kv", key.as_bytes()));
            prop_assert_eq!(left.cmp(&right), a.cmp(&b));
            let range = partition_range(PartitionId(a.0));
            let inside = right[..] >= range.start[..] && range.end.is_none_or(|end| right[..] < end[..]);
            prop_assert_eq!(inside, a.0 == b.0);
        }

        #[test]
        fn a_stored_key_is_taken_apart_again(
            partition: u16, token: u64, key in prop::collection::vec(any::<u8>(), 1..64),
        ) {
            let decoded = decode(&stored(partition, token, "orders-2", &key)).unwrap();
            prop_assert_eq!(decoded.partition, PartitionId(partition));
            prop_assert_eq!(decoded.token, Token(token));
            prop_assert_eq!(decoded.keyspace.as_str(), "orders-2");
            prop_assert_eq!(decoded.key.as_bytes(), &key[..]);
        }
    }
}
