//! What a move waits for, in words.

use std::fmt;

use super::id::MoveId;
use super::stage::Stage;
use crate::epoch::RingEpoch;

/// A move that does not go on, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Which.
    pub id: MoveId,
    /// Where it is.
    pub stage: Stage,
    /// What it waits for.
    pub reason: WaitReason,
}

/// What a move waits for. Nodes go by their names, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// The joining owner has not made its vnode.
    Ready {
        /// The joining owner.
        node: String,
    },
    /// Nodes have not acknowledged the stage's epoch.
    Barrier {
        /// Who.
        nodes: Vec<String>,
        /// The epoch.
        epoch: RingEpoch,
    },
    /// Sources are not copied from to the end.
    Stream {
        /// Who copies.
        node: String,
        /// From whom it could.
        sources: Vec<String>,
        /// How many of them are needed still.
        needed: usize,
    },
    /// A copy has not compared equal with its sources.
    Verify {
        /// Whose copy.
        node: String,
        /// With whom it could.
        sources: Vec<String>,
        /// How many of them are needed still.
        needed: usize,
    },
    /// The leaver may have what new owners lack.
    Drain {
        /// The leaver.
        node: String,
        /// Who may lack something.
        to: Vec<String>,
    },
    /// The leaver has not deleted its copy.
    Clean {
        /// The leaver.
        node: String,
    },
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.id, self.stage, self.reason)
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { node } => write!(f, "{node} has not made its vnode"),
            Self::Barrier { nodes, epoch } => {
                let have = if nodes.len() == 1 { "has" } else { "have" };
                let nodes = nodes.join(", ");
                write!(f, "barrier: {nodes} {have} not acknowledged epoch {epoch}")
            }
            Self::Stream {
                node,
                sources,
                needed,
            } => {
                let sources = sources.join(", ");
                write!(f, "{node} copies: {needed} more of {sources} needed")
            }
            Self::Verify {
                node,
                sources,
                needed,
            } => {
                let sources = sources.join(", ");
                write!(f, "{node} compares: {needed} more of {sources} needed")
            }
            Self::Drain { node, to } => {
                write!(f, "{node} drains: {} may lack something", to.join(", "))
            }
            Self::Clean { node } => write!(f, "{node} has not deleted its copy"),
        }
    }
}
