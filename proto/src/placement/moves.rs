//! Moves on the wire and in the ring's own types.

use annulus_ring::{Move, RingEpoch, Stage};

use super::node_index;
use crate::model::FieldRefused;
use crate::ring::v1 as wire;

impl From<&Move> for wire::Move {
    fn from(it: &Move) -> Self {
        Self {
            id: it.id.to_string(),
            add: it.add.map(|node| node.0.into()),
            remove: it.remove.map(|node| node.0.into()),
            stage: wire::MoveStage::from(it.stage).into(),
            since: it.since.0,
            lost: it.lost,
        }
    }
}

impl TryFrom<wire::Move> for Move {
    type Error = FieldRefused;

    fn try_from(it: wire::Move) -> Result<Self, Self::Error> {
        let stage = stage(it.stage())
            .ok_or_else(|| FieldRefused::invalid("moves.stage", "is not given or not known"))?;
        let id = it.id.parse().map_err(|refused| {
            FieldRefused::invalid("moves.id", format!("is refused: {refused}"))
        })?;
        let node = |field, node: Option<u32>| node.map(|node| node_index(field, node)).transpose();
        Ok(Self {
            id,
            add: node("moves.add", it.add)?,
            remove: node("moves.remove", it.remove)?,
            stage,
            since: RingEpoch(it.since),
            lost: it.lost,
        })
    }
}

impl From<Stage> for wire::MoveStage {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Prepare => Self::Prepare,
            Stage::Dual => Self::Dual,
            Stage::Stream => Self::Stream,
            Stage::Verify => Self::Verify,
            Stage::ReadNew => Self::ReadNew,
            Stage::Commit => Self::Commit,
            Stage::Cleanup => Self::Cleanup,
        }
    }
}

/// The stage; `None` if it is not given or not known.
fn stage(stage: wire::MoveStage) -> Option<Stage> {
    match stage {
        wire::MoveStage::Unspecified => None,
        wire::MoveStage::Prepare => Some(Stage::Prepare),
        wire::MoveStage::Dual => Some(Stage::Dual),
        wire::MoveStage::Stream => Some(Stage::Stream),
        wire::MoveStage::Verify => Some(Stage::Verify),
        wire::MoveStage::ReadNew => Some(Stage::ReadNew),
        wire::MoveStage::Commit => Some(Stage::Commit),
        wire::MoveStage::Cleanup => Some(Stage::Cleanup),
    }
}
