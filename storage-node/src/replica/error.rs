//! Why a replica did not do what it was asked.

use std::time::Duration;

use annulus_causality::{EpochError, HlcError, MintError};
use annulus_proto::model::{ErrorCode, Outcome, RequestError};
use annulus_ring::{PartitionId, RingEpoch};

use crate::storage::EngineError;

/// Advice to callers that met a full queue: a few group commits later there is room.
const RETRY_AFTER_FULL: Duration = Duration::from_millis(50);

/// Why a replica did not do what it was asked. [`ReplicaError::outcome`] tells whether anything
/// may have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaError {
    /// This node does not own the partition, as far as it knows.
    #[error("this node does not own partition {partition}")]
    NotOwner {
        /// The partition.
        partition: PartitionId,
        /// Whether the operation had been applied before ownership ended.
        applied: bool,
    },
    /// The operation was admitted under a placement that is fenced off.
    #[error("partition {partition} is fenced at epoch {fence}, the request was made under {epoch}")]
    StaleEpoch {
        /// The partition.
        partition: PartitionId,
        /// The operation's epoch.
        epoch: RingEpoch,
        /// The lowest epoch that is served.
        fence: RingEpoch,
        /// Whether the operation had been applied before the fence rose.
        applied: bool,
    },
    /// Too much is queued.
    #[error("too many {what} are waiting on this node")]
    Overloaded {
        /// What is queued.
        what: &'static str,
    },
    /// The disk is nearly full: new values are refused, deletes are not.
    #[error("this node's disk is nearly full; delete data or add space")]
    DiskFull,
    /// The deadline passed while the operation waited its turn.
    #[error("the deadline passed before the operation's turn came")]
    DeadlinePassed,
    /// No dot could be given to the write (sibling limit, or the client knows more than this vnode).
    #[error(transparent)]
    NotMinted(MintError),
    /// The vnode's own record is at odds with what others know of it.
    #[error("partition {partition}: {error}")]
    VnodeUnsound {
        /// The partition.
        partition: PartitionId,
        /// What is wrong.
        error: EpochError,
    },
    /// Some node's wall clock is wrong.
    #[error(transparent)]
    ClockSkew(#[from] HlcError),
    /// The key's record can't be read back. Other replicas may have it.
    #[error("partition {partition}: a stored record is damaged: {detail}")]
    Corrupt {
        /// The partition.
        partition: PartitionId,
        /// What was found.
        detail: String,
    },
    /// The vnode is being filled from other owners and can't tell yet what it should hold.
    #[error("partition {partition} is being rebuilt on this node; other owners have it")]
    Rebuilding {
        /// The partition.
        partition: PartitionId,
    },
    /// What another owner sent to fill a vnode can't be used here.
    #[error("partition {partition}: a state from another owner can't be taken: {detail}")]
    NotTaken {
        /// The partition.
        partition: PartitionId,
        /// What is wrong.
        detail: String,
    },
    /// The storage engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The write may or may not be on disk; the node stops.
    #[error("the log could not be written, this node stops: {0}")]
    LogFailed(EngineError),
    /// The node is stopping, or has stopped after its disk failed.
    #[error("this node's storage is stopping")]
    Stopped {
        /// Whether the operation may have been applied.
        applied: bool,
    },
}

impl ReplicaError {
    /// Whether anything may have happened.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NotOwner { applied: true, .. }
            | Self::StaleEpoch { applied: true, .. }
            | Self::Stopped { applied: true }
            | Self::LogFailed(_) => Outcome::Unknown,
            _ => Outcome::Rejected,
        }
    }

    /// The code at the edges.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::StaleEpoch { .. } => ErrorCode::StaleEpoch,
            Self::Overloaded { .. } => ErrorCode::Overloaded,
            Self::DeadlinePassed => ErrorCode::Timeout,
            Self::NotMinted(MintError::SiblingLimit { .. } | MintError::ContextAhead) => {
                ErrorCode::Conflict
            }
            Self::DiskFull
            | Self::Engine(EngineError::NoSpace { .. })
            | Self::LogFailed(EngineError::NoSpace { .. }) => ErrorCode::DiskFull,
            Self::NotMinted(MintError::StampTooLow { .. }) => ErrorCode::Internal,
            Self::NotOwner { .. }
            | Self::NotMinted(MintError::Epoch(_))
            | Self::VnodeUnsound { .. }
            | Self::ClockSkew(_)
            | Self::Corrupt { .. }
            | Self::Rebuilding { .. }
            | Self::NotTaken { .. }
            | Self::Engine(_)
            | Self::LogFailed(_)
            | Self::Stopped { .. } => ErrorCode::Unavailable,
        }
    }
}

impl From<ReplicaError> for RequestError {
    fn from(error: ReplicaError) -> Self {
        let retry_after =
            matches!(error, ReplicaError::Overloaded { .. }).then_some(RETRY_AFTER_FULL);
        let outcome = error.outcome();
        Self {
            outcome,
            retry_after,
            ..Self::rejected(error.code(), error.to_string())
        }
    }
}
