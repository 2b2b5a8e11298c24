//! The next epoch's placement.

use std::collections::BTreeMap;

use thiserror::Error;

use super::change::{Change, PlannedMove};
use super::id::MoveId;
use super::record::Move;
use super::stage::Stage;
use crate::document::PlacementDocument;
use crate::epoch::RingEpoch;
use crate::node::{Node, NodeId, NodeIndex};
use crate::partition::{PartitionId, ReplicationFactor};
use crate::placement::{Placement, PlacementError};

/// Why changes do not make a next placement. Nothing was changed: look at the current placement
/// again and decide anew.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// No change at all: the current placement stays.
    #[error("there is nothing to change")]
    Nothing,
    /// The epochs are used up.
    #[error("there is no epoch after {0}")]
    LastEpoch(RingEpoch),
    /// A member goes that is still needed.
    #[error("node {0} cannot leave: it owns vnodes, or a move names it")]
    StillUsed(NodeId),
    /// A move with a node that is no member.
    #[error("partition {partition}: node {node} is no member")]
    NoMember {
        /// What would move.
        partition: PartitionId,
        /// Who is unknown.
        node: NodeId,
    },
    /// A partition that has a move gets no other.
    #[error("partition {partition} has the move {id} already: wait for its end, or cancel it")]
    Moving {
        /// The partition.
        partition: PartitionId,
        /// Its move.
        id: MoveId,
    },
    /// A move that is not there.
    #[error("there is no move {0}: it is over, or was never begun")]
    NoSuchMove(MoveId),
    /// A stage that does not follow.
    #[error("move {id}: {to} does not follow {from}")]
    Step {
        /// The move.
        id: MoveId,
        /// Its stage.
        from: Stage,
        /// The wanted one.
        to: Stage,
    },
    /// A move that cannot end here.
    #[error("move {id}: it cannot end at {stage}")]
    NotOver {
        /// The move.
        id: MoveId,
        /// Its stage.
        stage: Stage,
    },
    /// A row is longer than the wanted N.
    #[error("partition {partition}: it has {owners} owners, more than {wanted}")]
    TooManyOwners {
        /// The partition.
        partition: PartitionId,
        /// How many it has, a joining one included.
        owners: usize,
        /// N.
        wanted: ReplicationFactor,
    },
    /// The result would not be a placement.
    #[error(transparent)]
    Invalid(#[from] PlacementError),
}

impl Placement {
    /// The placement of the next epoch, with these changes: members and N first, whatever the
    /// order.
    pub fn apply(&self, changes: &[Change]) -> Result<Self, ApplyError> {
        if changes.is_empty() {
            return Err(ApplyError::Nothing);
        }
        let epoch = self.epoch();
        let epoch = epoch.next().ok_or(ApplyError::LastEpoch(epoch))?;
        let mut next = Next::new(self, epoch);
        for change in changes {
            match change {
                Change::Members(nodes) => next.set_members(self, nodes)?,
                Change::ReplicationFactor(wanted) => next.set_replication_factor(self, *wanted)?,
                _ => {}
            }
        }
        for change in changes {
            match change {
                Change::Start(planned) => next.start(planned)?,
                Change::Enter { id, stage } => next.enter(*id, *stage)?,
                Change::GiveUpLeaver { id } => next.move_mut(*id)?.lost = true,
                Change::Close { id } => next.close(*id)?,
                Change::Members(_) | Change::ReplicationFactor(_) => {}
            }
        }
        Ok(next.finish()?)
    }
}

/// The placement in the making.
struct Next {
    document: PlacementDocument,
    moves: BTreeMap<PartitionId, Move>,
}

impl Next {
    fn new(current: &Placement, epoch: RingEpoch) -> Self {
        let document = PlacementDocument {
            epoch,
            fingerprint: None,
            ..PlacementDocument::from(current)
        };
        let moves = current.moves().iter().map(|it| (it.partition(), *it));
        Self {
            moves: moves.collect(),
            document,
        }
    }

    /// Renumbers who stays.
    fn set_members(&mut self, current: &Placement, nodes: &[Node]) -> Result<(), ApplyError> {
        let mut nodes = nodes.to_vec();
        nodes.sort_by_key(|node| node.id);
        let position = |node: &Node| {
            let found = nodes.binary_search_by_key(&node.id, |node| node.id);
            found.ok().map(NodeIndex::from_at)
        };
        let new_index: Vec<_> = current.nodes().iter().map(position).collect();
        let renumbered = |index: NodeIndex| {
            let gone = ApplyError::StillUsed(current.node(index).id);
            new_index[index.at()].ok_or(gone)
        };
        for owner in &mut self.document.owners {
            if *owner != NodeIndex::VACANT {
                *owner = renumbered(*owner)?;
            }
        }
        for it in self.moves.values_mut() {
            it.add = it.add.map(renumbered).transpose()?;
            it.remove = it.remove.map(renumbered).transpose()?;
        }
        self.document.nodes = nodes;
        Ok(())
    }

    fn set_replication_factor(
        &mut self,
        current: &Placement,
        wanted: ReplicationFactor,
    ) -> Result<(), ApplyError> {
        let n = self.document.replication_factor.len();
        let mut owners = Vec::with_capacity(current.partitions().len() * wanted.len());
        for (partition, row) in current
            .partitions()
            .ids()
            .zip(self.document.owners.chunks(n))
        {
            let row = row.iter().filter(|owner| **owner != NodeIndex::VACANT);
            let end = owners.len() + wanted.len();
            owners.extend(row);
            let sets = [current.old_owners(partition), current.new_owners(partition)];
            let most = sets
                .map(super::OwnerSet::len)
                .into_iter()
                .max()
                .unwrap_or(0);
            if most > wanted.len() {
                return Err(ApplyError::TooManyOwners {
                    partition,
                    owners: most,
                    wanted,
                });
            }
            owners.resize(end, NodeIndex::VACANT);
        }
        self.document.owners = owners;
        self.document.replication_factor = wanted;
        Ok(())
    }

    fn start(&mut self, planned: &PlannedMove) -> Result<(), ApplyError> {
        let partition = planned.partition;
        if let Some(it) = self.moves.get(&partition) {
            let id = it.id;
            return Err(ApplyError::Moving { partition, id });
        }
        let epoch = self.document.epoch;
        let begun = Move {
            id: MoveId { epoch, partition },
            add: self.index_of(planned.add, partition)?,
            remove: self.index_of(planned.remove, partition)?,
            stage: Stage::Prepare,
            since: epoch,
            lost: planned.lost,
        };
        self.moves.insert(partition, begun);
        Ok(())
    }

    fn index_of(
        &self,
        node: Option<NodeId>,
        partition: PartitionId,
    ) -> Result<Option<NodeIndex>, ApplyError> {
        let Some(node) = node else { return Ok(None) };
        let nodes = &self.document.nodes;
        match nodes.binary_search_by_key(&node, |it| it.id) {
            Ok(at) => Ok(Some(NodeIndex::from_at(at))),
            Err(_) => Err(ApplyError::NoMember { partition, node }),
        }
    }

    fn move_mut(&mut self, id: MoveId) -> Result<&mut Move, ApplyError> {
        let found = self.moves.get_mut(&id.partition);
        found
            .filter(|it| it.id == id)
            .ok_or(ApplyError::NoSuchMove(id))
    }

    fn enter(&mut self, id: MoveId, to: Stage) -> Result<(), ApplyError> {
        let since = self.document.epoch;
        let it = self.move_mut(id)?;
        let before = *it;
        let (joins, leaves) = (it.add.is_some(), it.remove.is_some());
        if !it.stage.may_enter(to, joins, leaves) {
            let from = it.stage;
            return Err(ApplyError::Step { id, from, to });
        }
        (it.stage, it.since) = (to, since);
        if before.stage.serves_new() != to.serves_new() {
            self.flip_row(&before);
        }
        Ok(())
    }

    /// The partition's row becomes the other set of owners, the newcomer in the place of who goes.
    fn flip_row(&mut self, before: &Move) {
        let n = self.document.replication_factor.len();
        let at = before.partition().at();
        let row = &mut self.document.owners[at * n..(at + 1) * n];
        let goes = before.only_in_row().unwrap_or(NodeIndex::VACANT);
        let comes = before.beside_row().unwrap_or(NodeIndex::VACANT);
        if let Some(place) = row.iter().position(|owner| *owner == goes) {
            row[place] = comes;
        }
        // Vacant places go to the end, the others keep their order.
        row.sort_by_key(|owner| *owner == NodeIndex::VACANT);
    }

    fn close(&mut self, id: MoveId) -> Result<(), ApplyError> {
        let it = *self.move_mut(id)?;
        if !it.stage.may_close(it.remove.is_some()) {
            let stage = it.stage;
            return Err(ApplyError::NotOver { id, stage });
        }
        self.moves.remove(&id.partition);
        Ok(())
    }

    fn finish(self) -> Result<Placement, PlacementError> {
        let mut document = self.document;
        document.moves = self.moves.into_values().collect();
        Placement::try_from(document)
    }
}
