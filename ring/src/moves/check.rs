//! When the moves of a document are valid.

use thiserror::Error;

use super::id::MoveId;
use super::record::Move;
use crate::epoch::RingEpoch;
use crate::node::NodeIndex;
use crate::partition::PartitionId;
use crate::placement::MAX_MOVES;

/// Why the moves of a document are refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MoveError {
    /// More moves than a placement can hold.
    #[error("{0} moves: at most {MAX_MOVES} can be under way")]
    TooMany(usize),
    /// Not ascending by partition, or two of one partition.
    #[error("move {0}: moves are not ascending by partition, or this partition has two")]
    Order(MoveId),
    /// Of a partition that does not exist.
    #[error("move {0}: there is no such partition")]
    Partition(MoveId),
    /// Neither joins nor leaves anybody, or the same node does both.
    #[error("move {0}: it needs a node to add or a node to remove, and not the same")]
    Nodes(MoveId),
    /// A node that is no member.
    #[error("move {id}: node {} is no node, there are {nodes}", node.0)]
    UnknownNode {
        /// The move.
        id: MoveId,
        /// The index that is out of range.
        node: NodeIndex,
        /// The number of members.
        nodes: usize,
    },
    /// The partition's owners do not fit the stage.
    #[error(
        "move {id}: at stage {stage} the partition's owners must include who leaves before \
         READ_NEW, who joins from READ_NEW on, never both, and leave a place for the other",
        stage = .stage
    )]
    Row {
        /// The move.
        id: MoveId,
        /// Its stage.
        stage: super::Stage,
    },
    /// Epochs that are out of order.
    #[error("move {id}: it is of epoch {}, at its stage since {since}, in a placement of {epoch}", id.epoch)]
    Epochs {
        /// The move.
        id: MoveId,
        /// When it entered its stage.
        since: RingEpoch,
        /// The document's.
        epoch: RingEpoch,
    },
    /// Nobody leaves, but the leaver is lost.
    #[error("move {0}: its leaver is lost, but it has none")]
    NobodyLost(MoveId),
    /// A stage that such a move does not have.
    #[error("move {id}: a move that only adds or only removes has no stage {stage}")]
    NoSuchStage {
        /// The move.
        id: MoveId,
        /// Its stage.
        stage: super::Stage,
    },
}

/// What the moves refer to.
pub(crate) struct Around<'a, R: Fn(PartitionId) -> &'a [NodeIndex]> {
    pub(crate) epoch: RingEpoch,
    pub(crate) partitions: usize,
    pub(crate) nodes: usize,
    /// N: the places of a row.
    pub(crate) replicas: usize,
    /// A partition's owners, without vacant places.
    pub(crate) row: R,
}

/// Checks a list of moves as a placement needs it.
pub(crate) fn check_moves<'a, R: Fn(PartitionId) -> &'a [NodeIndex]>(
    moves: &[Move],
    around: &Around<'a, R>,
) -> Result<(), MoveError> {
    if moves.len() > MAX_MOVES {
        return Err(MoveError::TooMany(moves.len()));
    }
    let out_of_order = |pair: &&[Move]| pair[0].partition() >= pair[1].partition();
    if let Some(pair) = moves.windows(2).find(out_of_order) {
        return Err(MoveError::Order(pair[1].id));
    }
    moves.iter().try_for_each(|it| check_move(it, around))
}

fn check_move<'a, R: Fn(PartitionId) -> &'a [NodeIndex]>(
    it: &Move,
    around: &Around<'a, R>,
) -> Result<(), MoveError> {
    let id = it.id;
    if it.partition().at() >= around.partitions {
        return Err(MoveError::Partition(id));
    }
    if it.add == it.remove {
        return Err(MoveError::Nodes(id));
    }
    let nodes = around.nodes;
    let stranger = |node: &NodeIndex| node.at() >= nodes;
    if let Some(node) = it.add.into_iter().chain(it.remove).find(stranger) {
        return Err(MoveError::UnknownNode { id, node, nodes });
    }
    let (since, epoch) = (it.since, around.epoch);
    if id.epoch > since || since > epoch {
        return Err(MoveError::Epochs { id, since, epoch });
    }
    if it.lost && it.remove.is_none() {
        return Err(MoveError::NobodyLost(id));
    }
    let stage = it.stage;
    let skipped = (stage == super::Stage::Stream && it.add.is_none())
        || (stage == super::Stage::Cleanup && it.remove.is_none());
    if skipped {
        return Err(MoveError::NoSuchStage { id, stage });
    }
    let row = (around.row)(it.partition());
    let (inside, beside) = (it.only_in_row(), it.beside_row());
    let other_len = row.len() + usize::from(beside.is_some()) - usize::from(inside.is_some());
    let fits = inside.is_none_or(|node| row.contains(&node))
        && beside.is_none_or(|node| !row.contains(&node))
        && (1..=around.replicas).contains(&other_len);
    if fits {
        Ok(())
    } else {
        Err(MoveError::Row { id, stage })
    }
}
