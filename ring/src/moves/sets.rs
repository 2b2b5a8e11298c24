//! Whom a request needs: sets of owners during moves.
//!
//! Nothing here allocates; a partition without a move costs one look at an empty list, or a
//! binary search among the moves.

use std::borrow::Cow;

use super::record::Move;
use crate::node::NodeIndex;
use crate::partition::PartitionId;
use crate::placement::Placement;

/// A partition's owners before or after its move, the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerSet<'a> {
    row: &'a [NodeIndex],
    /// In the row, but not in the set.
    without: Option<NodeIndex>,
    /// In the set, but not in the row; in the place of `without` if there is one.
    with: Option<NodeIndex>,
}

impl<'a> OwnerSet<'a> {
    fn row(row: &'a [NodeIndex]) -> Self {
        Self {
            row,
            without: None,
            with: None,
        }
    }

    /// The owners.
    pub fn iter(self) -> impl Iterator<Item = NodeIndex> + Clone + use<'a> {
        let Self { row, without, with } = self;
        let in_row = row.iter().filter_map(move |owner| {
            if Some(*owner) == without {
                with
            } else {
                Some(*owner)
            }
        });
        in_row.chain(with.filter(|_| without.is_none()))
    }

    /// How many there are: what W and R are counted of.
    pub fn len(self) -> usize {
        self.row.len() + usize::from(self.with.is_some()) - usize::from(self.without.is_some())
    }

    /// Whether there is none, which no valid placement has.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether the node is one of them.
    pub fn contains(self, node: NodeIndex) -> bool {
        self.with == Some(node) || (self.row.contains(&node) && self.without != Some(node))
    }
}

/// The sets of owners that a write needs W acknowledgements of, each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteSets<'a> {
    /// The partition's owners; the old ones while both sets are needed.
    pub first: OwnerSet<'a>,
    /// The new owners, while both sets are needed.
    pub second: Option<OwnerSet<'a>>,
}

impl<'a> WriteSets<'a> {
    /// The one or two sets.
    pub fn iter(self) -> impl Iterator<Item = OwnerSet<'a>> + Clone + use<'a> {
        std::iter::once(self.first).chain(self.second)
    }

    /// Everybody that a write is sent to, each once.
    pub fn targets(self) -> impl Iterator<Item = NodeIndex> + Clone + use<'a> {
        let joining = self
            .second
            .into_iter()
            .flat_map(OwnerSet::iter)
            .filter(move |node| !self.first.contains(*node));
        self.first.iter().chain(joining)
    }
}

impl Placement {
    /// The moves under way, ascending by partition.
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// The partition's move; `None` if it is stable.
    pub fn move_of(&self, partition: PartitionId) -> Option<&Move> {
        if self.moves.is_empty() {
            return None;
        }
        let found = self.moves.binary_search_by_key(&partition, Move::partition);
        found.ok().map(|at| &self.moves[at])
    }

    /// The owners without the partition's move.
    pub fn old_owners(&self, partition: PartitionId) -> OwnerSet<'_> {
        match self.move_of(partition) {
            Some(it) if it.stage.serves_new() => self.other_owners(it),
            _ => OwnerSet::row(self.owners(partition)),
        }
    }

    /// The owners with the partition's move.
    pub fn new_owners(&self, partition: PartitionId) -> OwnerSet<'_> {
        match self.move_of(partition) {
            Some(it) if !it.stage.serves_new() => self.other_owners(it),
            _ => OwnerSet::row(self.owners(partition)),
        }
    }

    /// The fewest owners that a partition has, with its move or without it: while the replication factor changes,
    /// others than it says.
    pub fn fewest_owners(&self) -> u8 {
        let sets = |partition| [self.old_owners(partition), self.new_owners(partition)];
        let sizes = self.partitions().ids().flat_map(sets).map(OwnerSet::len);
        let fewest = sizes.min().and_then(|size| u8::try_from(size).ok());
        fewest.unwrap_or(self.replication_factor().get())
    }

    fn other_owners(&self, it: &Move) -> OwnerSet<'_> {
        OwnerSet {
            row: self.owners(it.partition()),
            without: it.only_in_row(),
            with: it.beside_row(),
        }
    }

    /// The sets of owners that a write needs W acknowledgements of, each: one, or two from DUAL to
    /// READ_NEW. It is sent to [`WriteSets::targets`].
    pub fn write_sets(&self, partition: PartitionId) -> WriteSets<'_> {
        let row = OwnerSet::row(self.owners(partition));
        match self.move_of(partition) {
            Some(it) if it.stage.writes_both() => {
                let other = self.other_owners(it);
                let (old, new) = if it.stage.serves_new() {
                    (other, row)
                } else {
                    (row, other)
                };
                WriteSets {
                    first: old,
                    second: Some(new),
                }
            }
            _ => WriteSets {
                first: row,
                second: None,
            },
        }
    }

    /// Whom a read asks: R of these. The same as [`Placement::owners`].
    pub fn readers(&self, partition: PartitionId) -> &[NodeIndex] {
        self.owners(partition)
    }

    /// Who may mint dots. The same as [`Placement::owners`].
    pub fn minters(&self, partition: PartitionId) -> &[NodeIndex] {
        self.owners(partition)
    }

    /// Everybody who may hold data of the partition and takes part in merges and comparisons:
    /// its owners, the joining owner from PREPARE on, the leaver until its move is closed.
    pub fn holders(
        &self,
        partition: PartitionId,
    ) -> impl Iterator<Item = NodeIndex> + Clone + use<'_> {
        let beside = self.move_of(partition).and_then(Move::beside_row);
        self.owners(partition).iter().copied().chain(beside)
    }

    /// Whether the node is among [`Placement::holders`].
    pub fn is_holder(&self, partition: PartitionId, node: NodeIndex) -> bool {
        let beside = || self.move_of(partition).and_then(Move::beside_row);
        self.is_owner(partition, node) || beside() == Some(node)
    }

    /// The partitions that the node holds or is about to, ascending.
    pub fn partitions_held_by(&self, node: NodeIndex) -> impl Iterator<Item = PartitionId> + '_ {
        self.partitions()
            .ids()
            .filter(move |partition| self.is_holder(*partition, node))
    }

    /// The placement with its moves done, or called off where `done` says no; at the same epoch,
    /// for planning only.
    pub(crate) fn settled(&self, done: impl Fn(&Move) -> bool) -> Cow<'_, Self> {
        if self.moves.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut settled = self.clone();
        let n = self.replication_factor().len();
        for it in &self.moves {
            let partition = it.partition();
            let owners = if done(it) {
                self.new_owners(partition)
            } else {
                self.old_owners(partition)
            };
            let mut row: Vec<NodeIndex> = owners.iter().collect();
            row.resize(n, NodeIndex::VACANT);
            settled.set_row(partition, &row);
        }
        settled.moves.clear();
        Cow::Owned(settled)
    }

    /// Whether the node is named nowhere: it owns no partition and no move knows it. Only then may
    /// it stop being a member.
    pub fn is_unused(&self, node: NodeIndex) -> bool {
        !self.all_owners().contains(&node) && !self.moves.iter().any(|it| it.names(node))
    }
}
