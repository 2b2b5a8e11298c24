//! A key's state on disk: `format (1) | crc32c (4, little-endian) | state (causality's encoding)`.
//!
//! The checksum covers the stored key and the state. So bytes that were damaged anywhere between
//! this process and the disk, and a record that lies under a wrong key, are seen at the next read,
//! whether or not the engine's own checksums saw them.

use annulus_causality::KeyState;
use bytes::{BufMut as _, Bytes, BytesMut};

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 5;

/// A state ready for the engine.
#[derive(Debug, Clone)]
pub(super) struct Record {
    bytes: Bytes,
}

impl Record {
    pub(super) fn of(stored_key: &[u8], state: &KeyState) -> Self {
        let encoded = state.encode();
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + encoded.len());
        bytes.put_u8(FORMAT);
        bytes.put_u32_le(checksum(stored_key, &encoded));
        bytes.put(encoded);
        Self {
            bytes: bytes.freeze(),
        }
    }

    /// As the engine stores it.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The state alone, as other nodes are sent it. Shares the record's memory.
    pub(super) fn state(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }
}

/// Reads a record back; says what is wrong with one that is damaged.
pub(crate) fn decode(stored_key: &[u8], record: &Bytes) -> Result<KeyState, String> {
    let encoded = intact_state(stored_key, record)?;
    KeyState::decode(&encoded).map_err(|error| error.to_string())
}

/// The state of a record, as other nodes are sent it; says what is wrong with one that is damaged.
pub(super) fn intact_state(stored_key: &[u8], record: &Bytes) -> Result<Bytes, String> {
    let Some((&[format, ref crc @ ..], encoded)) = record.split_first_chunk::<HEADER_BYTES>()
    else {
        return Err(format!("a record of {} bytes has no header", record.len()));
    };
    if format != FORMAT {
        return Err(format!("unknown record format {format}"));
    }
    let (stated, actual) = (u32::from_le_bytes(*crc), checksum(stored_key, encoded));
    if stated != actual {
        return Err(format!(
            "checksum is {actual:08x}, the record states {stated:08x}"
        ));
    }
    Ok(record.slice_ref(encoded))
}

fn checksum(stored_key: &[u8], encoded: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(stored_key), encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"\x00\x01key";

    #[test]
    fn any_flipped_bit_and_any_cut_is_seen() {
        let whole = Record::of(KEY, &KeyState::new()).bytes().clone();
        assert_eq!(decode(KEY, &whole), Ok(KeyState::new()));
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(KEY, &damaged.into()).is_err(), "bit {bit}");
        }
        for end in 0..whole.len() {
            assert!(decode(KEY, &whole.slice(..end)).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn a_record_under_a_wrong_key_is_damage() {
        let record = Record::of(KEY, &KeyState::new());
        assert!(decode(b"other", record.bytes()).is_err());
    }
}
