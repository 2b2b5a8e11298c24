//! Which partitions lack writes at a node that nobody keeps for it: pure, and its records' keys.
//!
//! A mark has a number, and each further loss gives it a new one: a comparison takes away only the mark
//! that stood when it began.

use std::collections::BTreeMap;

use annulus_ring::{NodeId, PartitionId};
use uuid::Uuid;

/// Prefix of the marks in `Space::Meta`; `target (16) | partition (2, big-endian)` follows.
pub(super) const MARK_PREFIX: &[u8] = b"repair/";

/// What lacks writes: the target, and its partition.
pub(super) type Place = (NodeId, PartitionId);

/// Which of the losses of a place the last one was, since this process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MarkNumber(u64);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Marks {
    numbers: BTreeMap<Place, u64>,
    last: u64,
}

impl Marks {
    /// Something more is lost there. Whether the place had no mark before.
    pub(super) fn set(&mut self, place: Place) -> bool {
        self.last += 1;
        self.numbers.insert(place, self.last).is_none()
    }

    /// The mark of a place.
    pub(super) fn number(&self, place: Place) -> Option<MarkNumber> {
        self.numbers.get(&place).copied().map(MarkNumber)
    }

    /// What was lost until that mark is there now. Whether the place has no mark any more.
    pub(super) fn clear(&mut self, place: Place, until: MarkNumber) -> bool {
        let is_last = self.number(place) == Some(until);
        if is_last {
            self.numbers.remove(&place);
        }
        is_last
    }

    /// All places with a mark.
    pub(super) fn places(&self) -> impl ExactSizeIterator<Item = Place> {
        self.numbers.keys().copied()
    }
}

/// Where the mark of a place lies.
pub(super) fn mark_key((target, partition): Place) -> Vec<u8> {
    [MARK_PREFIX, target.0.as_bytes(), &partition.0.to_be_bytes()].concat()
}

/// Whose mark lies there.
pub(super) fn read_mark(key: &[u8]) -> Option<Place> {
    let (target, partition) = key.strip_prefix(MARK_PREFIX)?.split_first_chunk::<16>()?;
    let partition = u16::from_be_bytes(partition.try_into().ok()?);
    Some((NodeId(Uuid::from_bytes(*target)), PartitionId(partition)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = (NodeId(Uuid::from_u128(77)), PartitionId(513));

    #[test]
    fn a_mark_is_read_back() {
        assert_eq!(read_mark(&mark_key(PLACE)), Some(PLACE));
        assert_eq!(read_mark(b"vnode/ab"), None);
    }

    #[test]
    fn a_comparison_does_not_take_away_what_was_lost_while_it_went_on() {
        let mut marks = Marks::default();
        assert!(marks.set(PLACE));
        let begun = marks.number(PLACE).unwrap();
        assert!(!marks.set(PLACE), "it is marked already");
        assert!(!marks.clear(PLACE, begun), "there is a later loss");
        assert_eq!(marks.places().collect::<Vec<_>>(), [PLACE]);
        let again = marks.number(PLACE).unwrap();
        assert!(marks.clear(PLACE, again));
        assert_eq!(marks.places().len(), 0);
        assert!(marks.set(PLACE), "a new one");
        assert!(!marks.clear(PLACE, again), "which is not that of before");
    }
}
