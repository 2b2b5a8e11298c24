//! This node's part in moves of partitions from node to node.
//!
//! The operator decides and the placement says where each move is; a node does what its placement asks of it, and shows what
//! came of it ([`MoveReport`]). The stages, their order and the reasons are in `docs/protocol/moves.md`.
//!
//! | module | owns |
//! |---|---|
//! | [`duty`] | what a move asks of this node at its stage (pure) |
//! | [`findings`] | what came of it so far |
//! | [`report`] | what is shown to the operator |
//! | [`pace`] | bytes a second, in and out, over all moves |
//! | [`driver`] | which duties are under way; the end of copies that are not held any more |
//! | [`filling`], [`comparing`] | the duties of who joins, and of who leaves |
//!
//! Invariants:
//! - whatever is done twice is done once: after a restart, and under a later placement that still asks for it;
//! - everything that is asked of other nodes carries the move's name, and they refuse it when their placement has no
//!   such move; what is merged here is fenced by the placement under which it was asked for;
//! - a source sends nothing before it has acknowledged the epoch at which both sets of owners are sent all writes:
//!   what it has then, and all that came later, is what the joining owner has;
//! - what was found about one copy says nothing about a later one of the same partition;
//! - nothing is deleted but copies that the placement in use does not have this node hold.
//!
//! Leaves to others: the copies (`replica`), taking pages (`rebuild`), comparing trees (`antientropy`), barriers and
//! fences (`placement`).

mod comparing;
mod driver;
mod duty;
mod filling;
mod findings;
mod metrics;
mod pace;
mod report;

use std::time::Duration;

use annulus_ring::NodeId;

use crate::antientropy::ComparisonError;
use crate::replica::ReplicaError;

pub(crate) use driver::{Moves, MovesParts};
pub(crate) use metrics::MoveMetrics;
pub(crate) use pace::{Direction, MovePace};
pub(crate) use report::MoveReport;

/// How moves are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MoveOptions {
    /// Partitions at a time, and as many that other nodes take from this one.
    pub(crate) streams: usize,
    /// Bytes of states in one page.
    pub(crate) page_bytes: u64,
    /// Until an attempt that came to nothing is made again.
    pub(crate) retry: Duration,
    /// Between two looks at keys that differ.
    pub(crate) confirm_after: Duration,
    /// No request lives longer.
    pub(crate) longest_request: Duration,
}

/// What keeps this node from its part in a move. It tries again by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Obstacle {
    /// There is no copy that was made for this move.
    #[error("this node has not made a copy for the move yet")]
    NoCopy,
    /// The disk is too full.
    #[error(
        "this node's disk has no room for the copy ({room}): free some space, or move another partition"
    )]
    NoRoom {
        /// How much there is.
        room: &'static str,
    },
    /// The copy met damage and was emptied.
    #[error("the copy was damaged, and begins again")]
    Damaged,
    /// Requests may be under way that counted on what the copy has lost.
    #[error("waiting for requests to end that counted on what the copy lost")]
    NotQuiet,
    /// This node's own writes of before this stage are not settled.
    #[error("waiting for older writes on this node to end")]
    NotSettled,
    /// A source does not give what it has.
    #[error("node {node}: {why}")]
    Source {
        /// The source.
        node: NodeId,
        /// Why.
        why: String,
    },
    /// The copies were compared too often.
    #[error("the copy on node {node} still differs after {rounds} comparisons")]
    StillDiffers {
        /// The other node.
        node: NodeId,
        /// How often.
        rounds: usize,
    },
    /// A comparison ended early.
    #[error("comparison with node {node}: {error}")]
    Comparison {
        /// The other node.
        node: NodeId,
        /// Why.
        error: ComparisonError,
    },
    /// This node's own replica.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
}
