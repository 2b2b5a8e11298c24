//! A failed request as an HTTP answer.

use annulus_proto::model::{ErrorCode, FieldRefused, RequestError};
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};
use serde::Serialize;

/// The body of an error: `{"error": {…}}`.
#[derive(Debug, Serialize)]
pub(super) struct ErrorBody {
    error: Fields,
}

#[derive(Debug, Serialize)]
struct Fields {
    code: &'static str,
    message: String,
    retryable: bool,
    outcome: &'static str,
}

impl From<&RequestError> for ErrorBody {
    fn from(error: &RequestError) -> Self {
        Self {
            error: Fields {
                code: error.code.as_str(),
                message: error.message.clone(),
                retryable: error.is_retryable(),
                outcome: error.outcome.as_str(),
            },
        }
    }
}

/// Answers with an error.
#[derive(Debug)]
pub(super) struct HttpError(pub(super) RequestError);

impl From<RequestError> for HttpError {
    fn from(error: RequestError) -> Self {
        Self(error)
    }
}

impl From<FieldRefused> for HttpError {
    fn from(refused: FieldRefused) -> Self {
        Self(refused.into())
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let body = Json(ErrorBody::from(&self.0));
        with_status(&self.0, body.into_response())
    }
}

/// Sets the error's status, and `retry-after` (whole seconds) where there is advice.
pub(super) fn with_status(error: &RequestError, mut response: Response) -> Response {
    *response.status_mut() = StatusCode::from_u16(error.code.http_status())
        .expect("the table of codes holds HTTP statuses");
    if let Some(after) = error.retry_after {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}

/// A path under which nothing is served. The word is not that of an absent key's answer.
pub(super) fn unknown_path() -> Response {
    let reason = "path: nothing is served here; see /kv/{key}, /v1/data/{key} and \
                  /v1/keyspaces/{keyspace}/kv|data/{key}";
    HttpError(RequestError::rejected(ErrorCode::NotFound, reason)).into_response()
}

/// A method that the path doesn't take.
pub(super) fn unknown_method(method: &Method) -> Response {
    let reason = format!("method: {method} is not served here; use GET, HEAD, PUT or DELETE");
    let error = RequestError::rejected(ErrorCode::InvalidArgument, reason);
    let mut response = HttpError(error).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    let allowed = HeaderValue::from_static("GET, HEAD, PUT, DELETE");
    response.headers_mut().insert(ALLOW, allowed);
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn retry_after_is_in_whole_seconds_and_never_zero() {
        for (after, seconds) in [(1, "1"), (1000, "1"), (1001, "2"), (2500, "3")] {
            let error = RequestError::overloaded("full", Duration::from_millis(after));
            let response = HttpError(error).into_response();
            assert_eq!(response.status(), 429);
            assert_eq!(response.headers()[RETRY_AFTER], seconds);
        }
    }

    #[test]
    fn every_code_has_its_status() {
        for code in ErrorCode::ALL {
            let response = HttpError(RequestError::rejected(*code, "x")).into_response();
            assert_eq!(response.status().as_u16(), code.http_status());
        }
    }
}
