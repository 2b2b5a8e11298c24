//! The fixed slices of the ring, and how many copies each has.

use std::fmt;
use std::num::NonZeroU8;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::token::Token;

/// Number of one partition, `0..count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionId(pub u16);

impl PartitionId {
    pub(crate) fn at(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many equal slices the ring has: a power of two, fixed for the cluster's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PartitionCount {
    bits: u8,
}

/// A partition count that is no power of two in `1..=16384`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{0} partitions: must be a power of two from 1 to {max}, such as 1024",
    max = PartitionCount::MAX
)]
pub struct InvalidPartitionCount(pub u32);

impl PartitionCount {
    /// The most partitions a ring can have.
    pub const MAX: u32 = 16_384;

    /// Checks that `count` is a power of two, `1..=16384`.
    pub fn new(count: u32) -> Result<Self, InvalidPartitionCount> {
        if !count.is_power_of_two() || count > Self::MAX {
            return Err(InvalidPartitionCount(count));
        }
        let bits = u8::try_from(count.ilog2()).expect("a logarithm of 16384 at most");
        Ok(Self { bits })
    }

    /// The number itself.
    pub fn get(self) -> u32 {
        1 << self.bits
    }

    /// The partition a token falls into: its top bits.
    pub fn of(self, token: Token) -> PartitionId {
        let slice = token
            .0
            .checked_shr(u64::BITS - u32::from(self.bits))
            .unwrap_or(0);
        PartitionId(u16::try_from(slice).expect("at most 14 bits are left"))
    }

    /// All partitions, ascending.
    pub fn ids(self) -> impl ExactSizeIterator<Item = PartitionId> + Clone {
        let end = u16::try_from(self.get()).expect("16384 at most");
        (0..end).map(PartitionId)
    }

    pub(crate) fn len(self) -> usize {
        1 << self.bits
    }
}

impl TryFrom<u32> for PartitionCount {
    type Error = InvalidPartitionCount;

    fn try_from(count: u32) -> Result<Self, Self::Error> {
        Self::new(count)
    }
}

impl From<PartitionCount> for u32 {
    fn from(count: PartitionCount) -> Self {
        count.get()
    }
}

impl fmt::Display for PartitionCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// N: how many distinct nodes own each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicationFactor(NonZeroU8);

/// A replication factor of zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("replication factor 0: must be from 1 to 255, 3 in most clusters")]
pub struct InvalidReplicationFactor;

impl ReplicationFactor {
    /// Checks that `factor` is not zero.
    pub fn new(factor: u8) -> Result<Self, InvalidReplicationFactor> {
        NonZeroU8::new(factor)
            .map(Self)
            .ok_or(InvalidReplicationFactor)
    }

    /// The number itself.
    pub fn get(self) -> u8 {
        self.0.get()
    }

    pub(crate) fn len(self) -> usize {
        usize::from(self.0.get())
    }
}

impl fmt::Display for ReplicationFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_powers_of_two_up_to_the_limit_are_counts() {
        for bad in [0, 3, 1000, 32_768, u32::MAX] {
            assert_eq!(PartitionCount::new(bad), Err(InvalidPartitionCount(bad)));
            assert!(serde_json::from_str::<PartitionCount>(&bad.to_string()).is_err());
        }
        for good in [1, 2, 1024, 16_384] {
            assert_eq!(PartitionCount::new(good).unwrap().get(), good);
        }
    }

    #[test]
    fn partitions_are_equal_slices_in_order() {
        let one = PartitionCount::new(1).unwrap();
        assert_eq!(one.of(Token(u64::MAX)), PartitionId(0));
        let count = PartitionCount::new(16_384).unwrap();
        let slice = 1u64 << 50;
        for id in count.ids() {
            let start = u64::from(id.0) * slice;
            assert_eq!(count.of(Token(start)), id);
            assert_eq!(count.of(Token(start + (slice - 1))), id);
        }
    }
}
