//! Primitive encodings: LEB128 varints in their shortest form, little-endian words, actors and clocks.
//!
//! The reader never panics and never allocates more than the input can justify.

use bytes::Bytes;

use crate::codec::CodecError;
use crate::dot::{Actor, KeyEpoch, VnodeId};
use crate::version_vector::VersionVector;

const CONTINUES: u8 = 0x80;

pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= u64::from(CONTINUES) {
        out.push((number & 0x7f) as u8 | CONTINUES);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    put_varint(out, len as u64);
}

pub(crate) fn put_clock(out: &mut Vec<u8>, clock: &VersionVector) {
    put_len(out, clock.len());
    for (actor, counter) in clock.iter() {
        out.extend_from_slice(&actor.vnode.0.to_le_bytes());
        put_varint(out, u64::from(actor.epoch.0));
        put_varint(out, counter);
    }
}

/// Reads an input from front to back.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// Takes the leading format version, which must be the given one.
    pub(crate) fn format(&mut self, known: u8) -> Result<(), CodecError> {
        match self.byte()? {
            found if found == known => Ok(()),
            found => Err(CodecError::UnknownFormat { found }),
        }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, CodecError> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, CodecError> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & !CONTINUES);
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                break;
            }
            number |= bits << shift;
            if byte & CONTINUES == 0 {
                return Ok(number);
            }
        }
        Err(CodecError::Invalid {
            what: "number is too large or not in its shortest form",
        })
    }

    pub(crate) fn varint_u32(&mut self) -> Result<u32, CodecError> {
        u32::try_from(self.varint()?).map_err(|_| CodecError::Invalid {
            what: "number exceeds 32 bits",
        })
    }

    /// Takes the number of items that follow, each at least `item_bytes` long; no more than the input can hold.
    pub(crate) fn count(&mut self, item_bytes: usize) -> Result<usize, CodecError> {
        let count = usize::try_from(self.varint()?).map_err(|_| CodecError::Truncated)?;
        if count > self.rest.len() / item_bytes {
            Err(CodecError::Truncated)
        } else {
            Ok(count)
        }
    }

    pub(crate) fn clock(&mut self) -> Result<VersionVector, CodecError> {
        let mut clock = VersionVector::new();
        for _ in 0..self.count(10)? {
            let vnode = VnodeId(self.u64()?);
            let actor = Actor::new(vnode, KeyEpoch(self.varint_u32()?));
            if !clock.push_ascending(actor, self.varint()?) {
                return Err(CodecError::Invalid {
                    what: "clock is not sorted or has a counter 0",
                });
            }
        }
        Ok(clock)
    }

    /// Takes bytes as a slice of the buffer that the reader was made from, without copying.
    pub(crate) fn shared(&mut self, whole: &Bytes) -> Result<Bytes, CodecError> {
        let len = self.count(1)?;
        self.take(len).map(|bytes| whole.slice_ref(bytes))
    }

    /// Checks that nothing is left.
    pub(crate) fn end(&self) -> Result<(), CodecError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(CodecError::Invalid {
                what: "bytes after the end",
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_have_one_form(number in prop_oneof![any::<u64>(), 0..300_u64, Just(u64::MAX)]) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint(), Ok(number));
            prop_assert_eq!(reader.end(), Ok(()));
            let last = bytes.len() - 1;
            bytes[last] |= CONTINUES;
            bytes.push(0);
            prop_assert!(Reader::new(&bytes).varint().is_err());
        }

        #[test]
        fn any_accepted_varint_is_the_written_one(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(number) = reader.varint() {
                let mut again = Vec::new();
                put_varint(&mut again, number);
                prop_assert_eq!(&bytes[..bytes.len() - reader.rest.len()], &again[..]);
            }
        }
    }
}
