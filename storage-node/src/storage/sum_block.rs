//! Blocks of a hash tree as the engine keeps them, and the rule by which it combines them.
//!
//! A block has 64 slots, each with a [`Sum`]: the XOR of hashes and the number of what is hashed.
//! Stored are the slots that are not zero, ascending: `slot (1) | hash (8, little-endian) | keys (4,
//! little-endian)`. A change to be combined with a stored block has the same form, so combining is
//! associative and commutative, and a change can be written without reading the block first.
//!
//! This is a stored format. Bytes after the last whole entry are ignored: the engine checks its own
//! checksums, and a merge that refused would stop compactions; sums are derived, a wrong one is
//! found and mended.

/// Slots of a block, and so children of a node of the tree.
pub const SLOTS: usize = 64;

/// Bytes of one stored slot.
const ENTRY_BYTES: usize = 1 + size_of::<u64>() + size_of::<u32>();

/// XOR of hashes, and how many were put in. Zero means nothing, or (once in 2^96) luck.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Sum {
    /// XOR of the hashes.
    pub hash: u64,
    /// Keys put in less keys taken out; wraps around, as a change may take out more than it puts in.
    pub keys: u32,
}

impl Sum {
    /// Of nothing.
    pub const ZERO: Self = Self { hash: 0, keys: 0 };

    /// Of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            hash: self.hash ^ other.hash,
            keys: self.keys.wrapping_add(other.keys),
        }
    }

    /// Of this without the other.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            hash: self.hash ^ other.hash,
            keys: self.keys.wrapping_sub(other.keys),
        }
    }
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SumBlock([Sum; SLOTS]);

impl Default for SumBlock {
    fn default() -> Self {
        Self([Sum::ZERO; SLOTS])
    }
}

impl SumBlock {
    /// Reads a stored block; what is absent is empty.
    pub fn decode(stored: &[u8]) -> Self {
        let mut block = Self::default();
        block.combine(stored);
        block
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut stored = Vec::new();
        for (slot, sum) in (0_u8..).zip(&self.0) {
            if *sum != Sum::ZERO {
                put_entry(&mut stored, slot, *sum);
            }
        }
        stored
    }

    /// The sum in a slot.
    ///
    /// # Panics
    /// When there is no such slot.
    pub fn at(&self, slot: usize) -> Sum {
        self.0[slot]
    }

    /// Adds to a slot.
    ///
    /// # Panics
    /// When there is no such slot.
    pub fn add(&mut self, slot: usize, sum: Sum) {
        self.0[slot] = self.0[slot].plus(sum);
    }

    /// Of all slots.
    pub fn total(&self) -> Sum {
        self.0.iter().fold(Sum::ZERO, |total, sum| total.plus(*sum))
    }

    /// The slots that differ, ascending.
    pub fn differing(&self, other: &Self) -> impl Iterator<Item = usize> {
        (0..SLOTS).filter(|&slot| self.0[slot] != other.0[slot])
    }

    /// Adds a stored block or change.
    pub fn combine(&mut self, stored: &[u8]) {
        for entry in stored.chunks_exact(ENTRY_BYTES) {
            let (slot, sum) = read_entry(entry);
            if let Some(held) = self.0.get_mut(usize::from(slot)) {
                *held = held.plus(sum);
            }
        }
    }
}

/// A change of one slot, as the engine takes it.
pub fn change(slot: u8, sum: Sum) -> Vec<u8> {
    let mut stored = Vec::with_capacity(ENTRY_BYTES);
    put_entry(&mut stored, slot, sum);
    stored
}

/// What an engine stores for a block and changes that come after it, in any grouping and order.
pub fn combine<'a>(stored: Option<&[u8]>, changes: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut block = SumBlock::decode(stored.unwrap_or_default());
    for change in changes {
        block.combine(change);
    }
    block.encode()
}

fn put_entry(stored: &mut Vec<u8>, slot: u8, sum: Sum) {
    stored.push(slot);
    stored.extend_from_slice(&sum.hash.to_le_bytes());
    stored.extend_from_slice(&sum.keys.to_le_bytes());
}

fn read_entry(entry: &[u8]) -> (u8, Sum) {
    let word = |from: usize| entry[from..from + 4].try_into().expect("four bytes");
    let (low, high) = (u32::from_le_bytes(word(1)), u32::from_le_bytes(word(5)));
    let sum = Sum {
        hash: u64::from(high) << 32 | u64::from(low),
        keys: u32::from_le_bytes(word(9)),
    };
    (entry[0], sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn changes() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let entry = (0..64_u8, any::<u64>(), any::<u32>());
        let entry = entry.prop_map(|(slot, hash, keys)| change(slot, Sum { hash, keys }));
        prop::collection::vec(entry, 0..20)
    }

    fn all(changes: &[Vec<u8>]) -> Vec<u8> {
        combine(None, changes.iter().map(Vec::as_slice))
    }

    #[test]
    fn the_stored_form_never_changes() {
        let mut block = SumBlock::default();
        block.add(
            0x21,
            Sum {
                hash: 0x0807_0605_0403_0201,
                keys: 0x0c0b_0a09,
            },
        );
        assert_eq!(
            block.encode(),
            b"\x21\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c"
        );
    }

    #[test]
    fn what_is_put_in_and_taken_out_leaves_nothing() {
        let sum = Sum { hash: 77, keys: 1 };
        let stored = combine(
            None,
            [&change(3, sum)[..], &change(3, Sum::ZERO.minus(sum))],
        );
        assert!(stored.is_empty());
    }

    proptest! {
        #[test]
        fn grouping_and_order_of_changes_do_not_matter(
            left in changes(), right in changes(), swap: bool,
        ) {
            let together = all(&[left.clone(), right.clone()].concat());
            let (left, right) = (all(&left), all(&right));
            let (one, other) = if swap { (right, left) } else { (left, right) };
            prop_assert_eq!(combine(Some(&one), [&other[..]]), together.clone());
            prop_assert_eq!(SumBlock::decode(&together).encode(), together);
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            SumBlock::decode(&bytes);
        }
    }
}
