//! The stages of a move, and which may follow which.
//!
//! "O" is the partition's owners without the move, "Nw" those with it.
//!
//! | stage | writes need | reads and mints | left when |
//! |---|---|---|---|
//! | PREPARE | W of O | O | the joining owner has made its vnode |
//! | DUAL | W of O and W of Nw | O | barrier |
//! | STREAM | same | O | the joining owner has merged its sources' snapshots |
//! | VERIFY | same | O | it compared equal with its sources |
//! | READ_NEW | same | Nw | barrier |
//! | COMMIT | W of Nw | Nw | barrier, then the leaver has pushed what the others lack |
//! | CLEANUP | W of Nw | Nw | the leaver has deleted its copy |
//!
//! A partition without a move is STABLE. A move without a joining owner skips STREAM; one without
//! a leaver skips CLEANUP.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where a move is. Ordered as they follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Stage {
    /// The joining owner makes room.
    Prepare,
    /// Writes need both sets from here on; nobody knows yet that everybody does so.
    Dual,
    /// Every older write is settled; the joining owner copies the rest.
    Stream,
    /// The joining owner compares what it has with its sources.
    Verify,
    /// Reads and mints are the new owners' affair; writes still need both sets.
    ReadNew,
    /// The old owners are not needed any more; the leaver pushes what it alone may have.
    Commit,
    /// The leaver deletes its copy.
    Cleanup,
}

/// A text that names no stage.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} names no stage of a move: expected one of PREPARE, DUAL, STREAM, VERIFY, READ_NEW, COMMIT, CLEANUP"
)]
pub struct InvalidStage(pub String);

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Prepare,
        Self::Dual,
        Self::Stream,
        Self::Verify,
        Self::ReadNew,
        Self::Commit,
        Self::Cleanup,
    ];

    /// Its name in documents and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prepare => "PREPARE",
            Self::Dual => "DUAL",
            Self::Stream => "STREAM",
            Self::Verify => "VERIFY",
            Self::ReadNew => "READ_NEW",
            Self::Commit => "COMMIT",
            Self::Cleanup => "CLEANUP",
        }
    }

    /// Whether reads and mints are the new owners' affair, and the partition's row lists those.
    pub fn serves_new(self) -> bool {
        self >= Self::ReadNew
    }

    /// Whether a write needs W of the old owners and W of the new ones.
    pub fn writes_both(self) -> bool {
        (Self::Dual..=Self::ReadNew).contains(&self)
    }

    /// Whether the move can still be called off: the old owners have everything.
    pub fn can_be_cancelled(self) -> bool {
        self <= Self::ReadNew
    }

    /// Whether a placement may pass from this stage to `next`, for a move with or without a
    /// joining owner and a leaver. The way back from READ_NEW is the beginning of an abort; that
    /// from COMMIT leads there when no new owner is left.
    pub fn may_enter(self, next: Self, joins: bool, leaves: bool) -> bool {
        match (self, next) {
            (Self::Prepare, Self::Dual)
            | (Self::Verify | Self::Commit, Self::ReadNew)
            | (Self::ReadNew, Self::Commit | Self::Verify) => true,
            (Self::Dual, Self::Stream) | (Self::Stream, Self::Verify) => joins,
            (Self::Dual, Self::Verify) => !joins,
            (Self::Commit, Self::Cleanup) => leaves,
            _ => false,
        }
    }

    /// Whether a placement may drop the move: called off before READ_NEW, or at its end.
    pub fn may_close(self, leaves: bool) -> bool {
        match self {
            Self::Prepare | Self::Dual | Self::Stream | Self::Verify | Self::Cleanup => true,
            Self::ReadNew => false,
            Self::Commit => !leaves,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stage {
    type Err = InvalidStage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|stage| stage.name() == text);
        found.ok_or_else(|| InvalidStage(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_its_name_everywhere() {
        for stage in Stage::ALL {
            assert_eq!(stage.name().parse(), Ok(stage));
            let json = serde_json::to_string(&stage).unwrap();
            assert_eq!(json, format!("\"{stage}\""));
        }
        assert!("dual".parse::<Stage>().is_err());
        assert!(Stage::ALL.is_sorted());
    }

    /// From any stage the end is reached, and neither a jump nor a way back but that one exists.
    #[test]
    fn stages_follow_one_another() {
        for (joins, leaves) in [(true, true), (true, false), (false, true)] {
            let mut stage = Stage::Prepare;
            let mut seen = vec![stage];
            while let Some(next) = Stage::ALL
                .into_iter()
                .find(|next| *next > stage && stage.may_enter(*next, joins, leaves))
            {
                stage = next;
                seen.push(stage);
            }
            assert!(stage.may_close(leaves));
            assert_eq!(seen.contains(&Stage::Stream), joins);
            assert_eq!(seen.contains(&Stage::Cleanup), leaves);
            let back = Stage::ALL
                .into_iter()
                .flat_map(|from| Stage::ALL.map(|to| (from, to)).into_iter());
            let back: Vec<_> = back
                .filter(|(from, to)| to <= from && from.may_enter(*to, joins, leaves))
                .collect();
            let abort = [
                (Stage::ReadNew, Stage::Verify),
                (Stage::Commit, Stage::ReadNew),
            ];
            assert_eq!(back, abort);
        }
    }
}
