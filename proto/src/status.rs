//! [`RequestError`] as a gRPC status with details, and back.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::model::{ErrorCode, Outcome, RequestError};

const DOMAIN: &str = "annulus.dev";

/// Writes the error as `google.rpc.Status` with `ErrorInfo` and, where there is advice, `RetryInfo`.
pub fn write_status(error: &RequestError) -> Status {
    let mut metadata = HashMap::from([
        ("outcome".to_owned(), error.outcome.as_str().to_owned()),
        ("retryable".to_owned(), error.is_retryable().to_string()),
    ]);
    if let Some(context) = &error.context {
        metadata.insert("context".to_owned(), hex(context));
    }
    let reason = error.code.as_str().to_ascii_uppercase();
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    if let Some(after) = error.retry_after {
        details.set_retry_info(Some(after));
    }
    Status::with_error_details(error.code.grpc_code(), error.message.clone(), details)
}

/// Reads an error back. A status without our details (a broken connection, a proxy) is `unknown`,
/// unless its code says that the server never saw the request's content.
pub fn read_status(status: &Status) -> RequestError {
    let details = status.get_error_details();
    let retry_after: Option<Duration> = details.retry_info().and_then(|info| info.retry_delay);
    let Some(info) = details.error_info() else {
        return RequestError {
            retry_after,
            ..without_details(status)
        };
    };
    RequestError {
        code: info
            .reason
            .parse()
            .unwrap_or_else(|()| code_of(status.code())),
        message: status.message().to_owned(),
        outcome: info
            .metadata
            .get("outcome")
            .map_or(Outcome::Unknown, |text| Outcome::from_wire(text)),
        retry_after,
        context: info.metadata.get("context").and_then(|text| unhex(text)),
    }
}

fn without_details(status: &Status) -> RequestError {
    let code = code_of(status.code());
    match code {
        ErrorCode::InvalidArgument | ErrorCode::Unauthenticated | ErrorCode::PermissionDenied => {
            RequestError::rejected(code, status.message())
        }
        _ => RequestError::unknown(code, status.message()),
    }
}

fn code_of(code: Code) -> ErrorCode {
    match code {
        Code::InvalidArgument | Code::Unimplemented => ErrorCode::InvalidArgument,
        Code::Unauthenticated => ErrorCode::Unauthenticated,
        Code::PermissionDenied => ErrorCode::PermissionDenied,
        Code::NotFound => ErrorCode::NotFound,
        Code::Aborted | Code::AlreadyExists => ErrorCode::Conflict,
        Code::OutOfRange => ErrorCode::TooLarge,
        Code::ResourceExhausted => ErrorCode::Overloaded,
        Code::DeadlineExceeded | Code::Cancelled => ErrorCode::Timeout,
        Code::Internal | Code::DataLoss => ErrorCode::Internal,
        Code::Ok | Code::Unknown | Code::FailedPrecondition | Code::Unavailable => {
            ErrorCode::Unavailable
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}"); // writing to a String can't fail
            text
        })
}

fn unhex(text: &str) -> Option<Bytes> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for code in ErrorCode::ALL {
            let error = RequestError {
                retry_after: Some(Duration::from_millis(250)),
                context: Some(Bytes::from_static(&[0, 7, 255])),
                ..RequestError::unknown(*code, "what failed")
            };
            assert_eq!(read_status(&write_status(&error)), error);
        }
    }

    #[test]
    fn a_foreign_status_promises_nothing() {
        assert_eq!(
            read_status(&Status::unavailable("reset")).outcome,
            Outcome::Unknown
        );
    }
}
