//! The last requests that wrote a key, so that a late retry is answered instead of written a second time.
//!
//! A retry whose first try was overwritten in between finds no sibling with its id; written again, it would come
//! back as a ghost next to the value that replaced it. So a key remembers its last request ids with their dots.
//!
//! Bounded, and still a lattice join: the merge is the union, cut to what [`RecentRequests::cut`] keeps, which is
//! a function of the union alone (a prefix of one total order, newest first). Cutting early loses nothing that a
//! late cut would keep, because adding entries only ever pushes others out. A retry that comes after the bound
//! has pushed its entry out may leave such a ghost: an extra sibling, never a lost one.

use crate::dot::Dot;
use crate::hlc::HlcStamp;
use crate::sibling::RequestId;

/// How many requests a key remembers.
pub const RECENT_REQUESTS_MAX: usize = 8;

/// How much older than a key's newest remembered request, in milliseconds, the others may be.
pub const RECENT_REQUESTS_WINDOW_MS: u64 = 600_000;

/// A request and the event that it became. Ordered by time first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecentRequest {
    /// Stamp of the write.
    pub stamp: HlcStamp,
    /// The client's name of the write.
    pub id: RequestId,
    /// The event: the answer to a retry.
    pub dot: Dot,
}

/// The remembered requests, newest first, at most [`RECENT_REQUESTS_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct RecentRequests {
    entries: Vec<RecentRequest>,
}

impl RecentRequests {
    pub(crate) fn as_slice(&self) -> &[RecentRequest] {
        &self.entries
    }

    /// The event of a request; of two (a retry written by another vnode) the smaller dot.
    pub(crate) fn find(&self, id: RequestId) -> Option<Dot> {
        self.entries
            .iter()
            .filter(|entry| entry.id == id)
            .map(|entry| entry.dot)
            .min()
    }

    pub(crate) fn insert(&mut self, entry: RecentRequest) {
        self.entries.push(entry);
        self.cut();
    }

    pub(crate) fn join(&mut self, other: &Self) {
        if self.entries != other.entries {
            self.entries.extend_from_slice(&other.entries);
            self.cut();
        }
    }

    /// Appends an entry; false, and nothing done, when entries would not be as [`Self::cut`] leaves them.
    pub(crate) fn push_descending(&mut self, entry: RecentRequest) -> bool {
        let fits = self.entries.len() < RECENT_REQUESTS_MAX
            && self.entries.last().is_none_or(|&last| last > entry)
            && self
                .entries
                .first()
                .is_none_or(|&first| Self::in_window(first, entry));
        if fits {
            self.entries.push(entry);
        }
        fits
    }

    fn cut(&mut self) {
        self.entries.sort_unstable_by(|a, b| b.cmp(a));
        self.entries.dedup();
        self.entries.truncate(RECENT_REQUESTS_MAX);
        if let Some(&newest) = self.entries.first() {
            self.entries.retain(|&entry| Self::in_window(newest, entry));
        }
    }

    fn in_window(newest: RecentRequest, entry: RecentRequest) -> bool {
        newest.stamp.ms() - entry.stamp.ms() <= RECENT_REQUESTS_WINDOW_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dot::{Actor, KeyEpoch, VnodeId};
    use proptest::prelude::*;

    fn entry((ms, sequence, counter): (u64, u64, u64)) -> RecentRequest {
        RecentRequest {
            stamp: HlcStamp::at_ms(ms),
            id: RequestId {
                client: 1,
                sequence,
            },
            dot: Actor::new(VnodeId(1), KeyEpoch(1)).dot(counter),
        }
    }

    fn some() -> impl Strategy<Value = RecentRequests> {
        let ms = prop_oneof![
            0..20_u64,
            RECENT_REQUESTS_WINDOW_MS..RECENT_REQUESTS_WINDOW_MS + 20
        ];
        prop::collection::vec((ms, 0..4_u64, 1..4_u64), 0..14).prop_map(|entries| {
            let mut recent = RecentRequests::default();
            entries
                .into_iter()
                .map(entry)
                .for_each(|entry| recent.insert(entry));
            recent
        })
    }

    fn joined(a: &RecentRequests, b: &RecentRequests) -> RecentRequests {
        let mut a = a.clone();
        a.join(b);
        a
    }

    #[test]
    fn old_entries_go_when_a_new_one_comes() {
        let mut recent = RecentRequests::default();
        recent.insert(entry((5, 1, 1)));
        recent.insert(entry((6 + RECENT_REQUESTS_WINDOW_MS, 2, 2)));
        assert_eq!(
            recent.as_slice(),
            [entry((6 + RECENT_REQUESTS_WINDOW_MS, 2, 2))]
        );
    }

    proptest! {
        #[test]
        fn join_is_a_bounded_lattice_join(a in some(), b in some(), c in some()) {
            prop_assert_eq!(joined(&a, &a), a.clone());
            prop_assert_eq!(joined(&a, &b), joined(&b, &a));
            prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
            prop_assert!(joined(&a, &b).as_slice().len() <= RECENT_REQUESTS_MAX);
        }
    }
}
