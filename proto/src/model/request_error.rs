//! A failed request, as every edge reports it.

use std::time::Duration;

use bytes::Bytes;

use super::{ErrorCode, FieldRefused, Outcome};

/// Why a request failed and what became of it. Each edge (HTTP, gRPC, batch, peer) writes the same
/// fields in its own form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// Which of the known reasons.
    pub code: ErrorCode,
    /// For people: what failed, on what, why, what to do.
    pub message: String,
    /// Whether anything may have happened.
    pub outcome: Outcome,
    /// Wait at least this long before a retry.
    pub retry_after: Option<Duration>,
    /// With `not_found`: the encoded context of a deleted key, if there is one.
    pub context: Option<Bytes>,
}

impl RequestError {
    /// Nothing happened.
    pub fn rejected(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            outcome: Outcome::Rejected,
            retry_after: None,
            context: None,
        }
    }

    /// It may or may not take effect.
    pub fn unknown(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Unknown,
            ..Self::rejected(code, message)
        }
    }

    /// Too much is going on; try again after a while. Nothing happened.
    pub fn overloaded(message: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::rejected(ErrorCode::Overloaded, message)
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.code.is_retryable()
    }
}

impl From<FieldRefused> for RequestError {
    fn from(refused: FieldRefused) -> Self {
        let code = if refused.too_large {
            ErrorCode::TooLarge
        } else {
            ErrorCode::InvalidArgument
        };
        Self::rejected(code, refused.to_string())
    }
}
