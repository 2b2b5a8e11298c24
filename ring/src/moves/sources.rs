//! Where a move's new owners get their data.
//!
//! Every acknowledged write is on W owners of O. If the leaver lives, it is one of N and hands
//! over in its own place: whatever it had, the joining owner gets, so that each such write stays
//! on W owners. If it is lost, at least W-1 of the N-1 survivors have the write, so any N-W+1 of
//! them include one: N-2 < (N-W+1) + (W-1). From fewer survivors, acknowledged writes may be lost.
//! A joining owner without a leaver needs any N-W+1 of the N, for the same reason. A move without
//! a joining owner must raise each new owner to what the leaver alone may have, so there each of
//! them synchronises, its own copy counting as one.

use super::record::Move;
use super::sets::OwnerSet;
use crate::node::NodeIndex;
use crate::placement::Placement;

/// From whom one node synchronises in a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncSources<'a> {
    among: Among<'a>,
    /// How many of them it needs, at least.
    pub at_least: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Among<'a> {
    Leaver(NodeIndex),
    Owners {
        old: OwnerSet<'a>,
        leaver: Option<NodeIndex>,
        syncer: NodeIndex,
    },
}

impl SyncSources<'_> {
    /// The nodes that count.
    pub fn iter(self) -> impl Iterator<Item = NodeIndex> + Clone {
        let (leaver, owners) = match self.among {
            Among::Leaver(leaver) => (Some(leaver), None),
            Among::Owners {
                old,
                leaver,
                syncer,
            } => (None, Some((old, leaver, syncer))),
        };
        let survivors = owners.into_iter().flat_map(|(old, leaver, syncer)| {
            old.iter()
                .filter(move |owner| Some(*owner) != leaver && *owner != syncer)
        });
        leaver.into_iter().chain(survivors)
    }

    /// Whether the node is one of them.
    pub fn contains(self, node: NodeIndex) -> bool {
        self.iter().any(|source| source == node)
    }
}

impl Placement {
    /// Who synchronises in this move: the joining owner, or, without one, each new owner.
    pub fn syncers(&self, it: &Move) -> impl Iterator<Item = NodeIndex> + Clone + use<'_> {
        let add = it.add;
        let new = self.new_owners(it.partition());
        let others = new.iter().filter(move |_| add.is_none());
        add.into_iter().chain(others)
    }

    /// From whom one of the [syncers](Placement::syncers) takes its data: the leaver if it lives,
    /// else at least N-W+1 of the old owners that are left. `write_min` is the smallest W that is
    /// promised to outlive a lost disk; the sources are never more than there are.
    pub fn sync_sources(&self, it: &Move, syncer: NodeIndex, write_min: u8) -> SyncSources<'_> {
        if let Some(leaver) = it.remove.filter(|_| !it.lost) {
            return SyncSources {
                among: Among::Leaver(leaver),
                at_least: 1,
            };
        }
        let old = self.old_owners(it.partition());
        let mut sources = SyncSources {
            among: Among::Owners {
                old,
                leaver: it.remove,
                syncer,
            },
            at_least: 0,
        };
        let own = usize::from(old.contains(syncer));
        let needed = (old.len() + 1).saturating_sub(usize::from(write_min)) - own;
        sources.at_least = needed.min(sources.iter().count());
        sources
    }
}
