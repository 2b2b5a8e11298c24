//! Why a request failed, after all of its attempts.

use std::time::Duration;

use annulus_proto::model::{ErrorCode, FieldRefused, Outcome, RequestError};

use crate::context::Context;

/// A request that failed for good: no attempt is left, or another would not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct ClientError {
    /// Which of the known reasons.
    pub code: ErrorCode,
    /// For people: what failed, on what, why, what to do.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// `rejected`: nothing happened, ever, in any attempt. `unknown`: it may or may not take effect.
    pub outcome: Outcome,
    /// Whether any node was reached at all.
    pub reached: bool,
    /// With `not_found`: the context of a deleted key.
    pub context: Option<Context>,
    /// The server's advice: wait at least this long.
    pub retry_after: Option<Duration>,
    /// How many attempts were made.
    pub attempts: u32,
}

impl ClientError {
    /// The last attempt's error, as the whole request's.
    pub(crate) fn answered(error: RequestError, attempts: u32) -> Self {
        Self {
            retryable: error.is_retryable(),
            code: error.code,
            message: error.message,
            outcome: error.outcome,
            reached: true,
            context: error.context.and_then(Context::from_wire),
            retry_after: error.retry_after,
            attempts,
        }
    }

    /// No node could be connected to.
    pub(crate) fn unreached(message: String, attempts: u32) -> Self {
        let rejected = RequestError::rejected(ErrorCode::Unavailable, message);
        Self {
            reached: false,
            ..Self::answered(rejected, attempts)
        }
    }

    /// The request was never sent, for the caller's fault.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::answered(
            RequestError::rejected(ErrorCode::InvalidArgument, message),
            0,
        )
    }
}

impl From<FieldRefused> for ClientError {
    fn from(refused: FieldRefused) -> Self {
        Self::answered(refused.into(), 0)
    }
}
