//! Blocks and leaves: their numbers, and where they and their keys lie on disk.

use annulus_ring::{PartitionCount, PartitionId, Token};
use bytes::Bytes;

use crate::storage::KeyRange;
use crate::storage::sum_block::SLOTS;

/// Bits of a slot's number.
const SLOT_BITS: u32 = SLOTS.ilog2();

/// Bits of a leaf's number: three levels of blocks.
const LEAF_BITS: u32 = 3 * SLOT_BITS;

/// Leaves of a tree.
pub const LEAVES: u32 = 1 << LEAF_BITS;

/// A leaf's number, `0..LEAVES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leaf(u32);

impl Leaf {
    /// The leaf of that number, if there is one.
    pub fn new(number: u32) -> Option<Self> {
        (number < LEAVES).then_some(Self(number))
    }

    /// The leaf that a token falls into, within its partition.
    pub fn of(partitions: PartitionCount, token: Token) -> Self {
        let within = token.0 << partition_bits(partitions);
        let number = within >> (u64::BITS - LEAF_BITS);
        Self(u32::try_from(number).expect("18 bits are left"))
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Where its keys lie in `Space::Data`.
    pub fn range(self, partitions: PartitionCount, partition: PartitionId) -> KeyRange {
        let bits = partition_bits(partitions);
        let first = u64::from(partition.0)
            .checked_shl(u64::BITS - bits)
            .unwrap_or(0);
        let width = u64::BITS - bits - LEAF_BITS;
        let start = first | u64::from(self.0) << width;
        let prefix = partition.0.to_be_bytes();
        let place = |token: u64| [&prefix[..], &token.to_be_bytes()].concat();
        let end = match start.checked_add(1 << width) {
            Some(end) if self.0 + 1 < LEAVES => Some(place(end)),
            _ => KeyRange::with_prefix(&prefix).end,
        };
        KeyRange {
            start: place(start),
            end,
        }
    }

    /// The block that holds its sum.
    pub(super) fn block(self) -> Block {
        Block {
            level: 2,
            number: number_of(self.0 >> SLOT_BITS),
        }
    }

    pub(super) fn slot(self) -> usize {
        slot_of(self.0)
    }
}

fn partition_bits(partitions: PartitionCount) -> u32 {
    partitions.get().ilog2()
}

fn slot_of(number: u32) -> usize {
    number as usize % SLOTS
}

fn number_of(number: u32) -> u16 {
    u16::try_from(number).expect("there are 4,096 blocks on a level at most")
}

/// One block of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    level: u8,
    number: u16,
}

/// What a slot of a block stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    /// A block of the next level.
    Block(Block),
    /// A leaf.
    Leaf(Leaf),
}

impl Block {
    /// The block whose slots are level 1.
    pub const ROOT: Self = Self {
        level: 0,
        number: 0,
    };

    /// The block of that number (as [`Self::number`] gives it), if there is one.
    pub fn new(number: u32) -> Option<Self> {
        let mut first = 0;
        for level in 0..3_u8 {
            let count = 1 << (SLOT_BITS * u32::from(level));
            if number < first + count {
                let number = number_of(number - first);
                return Some(Self { level, number });
            }
            first += count;
        }
        None
    }

    /// A number among all blocks: the root is 0, level 1 is `1..65`, level 2 `65..4161`.
    pub fn number(self) -> u32 {
        let before = (0..u32::from(self.level)).map(|level| 1 << (SLOT_BITS * level));
        before.sum::<u32>() + u32::from(self.number)
    }

    /// Its slot in the block above.
    pub(crate) fn slot(self) -> usize {
        slot_of(self.number.into())
    }

    /// The block above one of level 2.
    pub(crate) fn above(self) -> Self {
        Self {
            level: 1,
            number: self.number >> SLOT_BITS,
        }
    }

    /// The block of level 2 of that number, `0..4096`, if there is one.
    pub(crate) fn of_level_two(number: u32) -> Option<Self> {
        // After the root and the blocks of level 1.
        Self::new(number.checked_add(1 + (1 << SLOT_BITS))?)
    }

    /// What a slot stands for.
    ///
    /// # Panics
    /// When there is no such slot.
    pub fn child(self, slot: usize) -> Child {
        assert!(slot < SLOTS, "a block has no slot {slot}");
        let slot = u32::try_from(slot).expect("a block has 64 slots");
        let number = (u32::from(self.number) << SLOT_BITS) + slot;
        if self.level == 2 {
            return Child::Leaf(Leaf(number));
        }
        Child::Block(Self {
            level: self.level + 1,
            number: number_of(number),
        })
    }

    /// The first leaf after all that are below it.
    pub(crate) fn end(self) -> u32 {
        let leaves = LEAVES >> (SLOT_BITS * u32::from(self.level));
        (u32::from(self.number) + 1) * leaves
    }

    /// Where the keys below one of level 2 lie in `Space::Data`.
    ///
    /// # Panics
    /// On another level.
    pub(crate) fn range(self, partitions: PartitionCount, partition: PartitionId) -> KeyRange {
        let leaf = |slot| match self.child(slot) {
            Child::Leaf(leaf) => leaf.range(partitions, partition),
            Child::Block(_) => panic!("leaves are below level 2 only"),
        };
        KeyRange {
            end: leaf(SLOTS - 1).end,
            ..leaf(0)
        }
    }

    /// Its key in `Space::Tree`. The root has one too, which is never written.
    pub fn stored_key(self, partition: PartitionId) -> Bytes {
        let mut key = level_prefix(partition, self.level).to_vec();
        key.extend_from_slice(&self.number.to_be_bytes());
        key.into()
    }

    /// Takes a key of `Space::Tree` apart; `None` if it is none.
    pub(crate) fn of_stored_key(key: &[u8]) -> Option<(PartitionId, Self)> {
        let &[p0, p1, level @ 1..=2, n0, n1] = key else {
            return None;
        };
        let number = u16::from_be_bytes([n0, n1]);
        let in_level = u32::from(number) < 1 << (SLOT_BITS * u32::from(level));
        let partition = PartitionId(u16::from_be_bytes([p0, p1]));
        in_level.then_some((partition, Self { level, number }))
    }
}

fn level_prefix(partition: PartitionId, level: u8) -> [u8; 3] {
    let [high, low] = partition.0.to_be_bytes();
    [high, low, level]
}

/// Where the blocks of level 1 lie in `Space::Tree`.
pub(crate) fn level_one_range(partition: PartitionId) -> KeyRange {
    KeyRange::with_prefix(&level_prefix(partition, 1))
}

/// Where all blocks of a tree lie in `Space::Tree`.
pub(crate) fn tree_range(partition: PartitionId) -> KeyRange {
    KeyRange::with_prefix(&partition.0.to_be_bytes())
}
