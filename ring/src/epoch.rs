//! The version number of a placement.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Version of the placement; every change is the next epoch. Two different placements never
/// share one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RingEpoch(pub u64);

impl RingEpoch {
    /// The epoch a cluster is founded with.
    pub const FIRST: Self = Self(1);

    /// The epoch after this one; `None` after the last.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for RingEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_rise_and_never_wrap() {
        assert!(RingEpoch::FIRST < RingEpoch::FIRST.next().unwrap());
        assert_eq!(RingEpoch(u64::MAX).next(), None);
    }
}
