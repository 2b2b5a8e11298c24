//! The name of a move.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::epoch::RingEpoch;
use crate::partition::PartitionId;

/// Identity of a move, never used again: the epoch that it first appeared in and its partition,
/// which has at most one move at an epoch. As text, `e12-p7`.
///
/// It names the session of the move's background traffic as well: when the placement has no such
/// move any more, whatever arrives under this name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MoveId {
    /// The first epoch with the move.
    pub epoch: RingEpoch,
    /// What moves.
    pub partition: PartitionId,
}

/// A text that names no move.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} names no move: expected an epoch and a partition, such as e12-p7")]
pub struct InvalidMoveId(pub String);

impl fmt::Display for MoveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}-p{}", self.epoch, self.partition)
    }
}

impl FromStr for MoveId {
    type Err = InvalidMoveId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text
            .strip_prefix('e')
            .and_then(|rest| rest.split_once("-p"))
            .and_then(|(epoch, partition)| {
                Some(Self {
                    epoch: RingEpoch(epoch.parse().ok()?),
                    partition: PartitionId(partition.parse().ok()?),
                })
            });
        // One spelling only: `+1` and `007` parse as numbers, but name nothing.
        parsed
            .filter(|id| id.to_string() == text)
            .ok_or_else(|| InvalidMoveId(text.to_owned()))
    }
}

impl TryFrom<String> for MoveId {
    type Error = InvalidMoveId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MoveId> for String {
    fn from(id: MoveId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_text_in_one_spelling() {
        let id = MoveId {
            epoch: RingEpoch(12),
            partition: PartitionId(7),
        };
        assert_eq!(id.to_string(), "e12-p7");
        assert_eq!("e12-p7".parse(), Ok(id));
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"e12-p7\"");
        assert_eq!(serde_json::from_str::<MoveId>("\"e12-p7\"").unwrap(), id);
        for bad in [
            "",
            "12-7",
            "e12p7",
            "e12-p70000",
            "e+12-p7",
            "e012-p7",
            "e-p",
        ] {
            assert_eq!(
                bad.parse::<MoveId>(),
                Err(InvalidMoveId(bad.into())),
                "{bad}"
            );
        }
    }
}
