//! Reading a request's body within bounds.

use annulus_proto::model::{ErrorCode, FieldRefused, RequestError, TimeToLive};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::server::request_bytes::TooManyBytes;

/// Room in a body beside the value: field names, a context of the greatest size, white space.
const BESIDE_VALUE_BYTES: usize = 128 << 10;

/// Bytes of a body that is refused which are still read, and thrown away: a client that writes
/// its body before it reads the answer would see a broken connection instead of the answer.
const DISCARDED_BYTES: usize = 16 << 20;

/// The longest body for a value of `max_value_bytes`, which base64 makes a third longer.
pub(super) fn limit_bytes(max_value_bytes: usize) -> usize {
    max_value_bytes.div_ceil(3) * 4 + BESIDE_VALUE_BYTES
}

/// Reads a body of at most `limit` bytes that arrives by `deadline`. Nothing happened on failure.
pub(super) async fn read(
    body: Body,
    limit: usize,
    deadline: Instant,
) -> Result<Bytes, RequestError> {
    timeout_at(deadline, collect(body, limit))
        .await
        .unwrap_or_else(|_| {
            Err(RequestError::rejected(
                ErrorCode::Timeout,
                "body: did not arrive in time",
            ))
        })
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, RequestError> {
    let mut collected = BytesMut::new();
    let (mut arrived, mut no_room) = (0_usize, None);
    while let Some(frame) = body.frame().await {
        let bytes = match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) if no_room.is_none() && arrived + data.len() <= limit => {
                    collected.extend_from_slice(&data);
                    data.len()
                }
                Ok(data) => data.len(),
                Err(_) => 0,
            },
            Err(error) => {
                let too_many = refusal(error)?;
                no_room = Some(too_many.refused);
                too_many.bytes
            }
        };
        arrived = arrived.saturating_add(bytes);
        if arrived > limit.saturating_add(DISCARDED_BYTES) {
            break;
        }
    }
    if let Some(no_room) = no_room {
        return Err(no_room);
    }
    if arrived > limit {
        let reason = format!("is longer than the {limit} bytes that its value may take");
        return Err(FieldRefused::too_large("body", reason).into());
    }
    Ok(collected.freeze())
}

/// Whether it was only refused for want of room, and goes on.
fn refusal(error: axum::Error) -> Result<TooManyBytes, RequestError> {
    match error.into_inner().downcast() {
        Ok(too_many) => Ok(*too_many),
        Err(error) => match error.downcast() {
            Ok(wrapped) => refusal(*wrapped),
            Err(error) => {
                let reason = format!("body: broke off: {error}");
                Err(RequestError::rejected(ErrorCode::InvalidArgument, reason))
            }
        },
    }
}

/// Reads JSON.
pub(super) fn parse<'body, T: Deserialize<'body>>(bytes: &'body [u8]) -> Result<T, RequestError> {
    serde_json::from_slice(bytes).map_err(|error| {
        FieldRefused::invalid("body", format!("is not as expected: {error}")).into()
    })
}

/// Seconds to live as JSON: a whole number, `null` or nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct JsonTtl(Option<serde_json::Value>);

impl JsonTtl {
    pub(super) fn check(self) -> Result<Option<TimeToLive>, FieldRefused> {
        let Some(value) = self.0 else { return Ok(None) };
        let seconds = value.as_i64().ok_or_else(|| {
            FieldRefused::invalid("ttl", "must be a whole number of seconds, 1 to 315360000")
        })?;
        TimeToLive::from_seconds(seconds).map(Some)
    }
}
