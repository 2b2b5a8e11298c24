//! `/v1/data/…`: one JSON value per key, the last writer's.
//!
//! A value is kept as the JSON text that came. One that was written over gRPC need not be JSON:
//! it is shown as a JSON string, in base64 where it is not text.

use std::borrow::Cow;

use annulus_proto::model::{FieldRefused, RequestError};
use axum::Json;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Call;
use super::body::{self, JsonTtl};
use crate::coordinator::Put;
use crate::keyspace::{ConflictPolicy, Keyspace};
use crate::server::client_edge::{check_value, not_found};
use crate::server::headers;

#[derive(Debug, Deserialize)]
struct PutBody<'body> {
    #[serde(borrow)]
    value: &'body RawValue,
    #[serde(default)]
    ttl: JsonTtl,
}

#[derive(Debug, Serialize)]
struct WrittenBody {
    version: u64,
}

#[derive(Debug, Serialize)]
struct FoundBody<'value> {
    value: Cow<'value, RawValue>,
    version: u64,
}

pub(super) async fn get(mut call: Call) -> Result<Response, RequestError> {
    check_policy(&call.keyspace)?;
    let get = call.take_get()?;
    let shown = call.edge.get(call.admitted, call.keyspace, get).await?;
    let sibling = shown
        .siblings
        .first()
        .ok_or_else(|| not_found(Bytes::new()))?;
    let body = FoundBody {
        value: as_json(&sibling.value),
        version: shown.version,
    };
    Ok(Json(body).into_response())
}

pub(super) async fn put(mut call: Call) -> Result<Response, RequestError> {
    check_policy(&call.keyspace)?;
    let bytes = call.read_body().await?;
    let body: PutBody<'_> = body::parse(&bytes)?;
    check_value(&call.keyspace, length(body.value))?;
    let value = bytes.slice_ref(body.value.get().as_bytes());
    let put = Put {
        ttl: body.ttl.check()?,
        ..call.to_put(value)
    };
    let written = call.edge.put(call.admitted, call.keyspace, put).await?;
    let body = WrittenBody {
        version: written.version,
    };
    Ok(headers::mark_sloppy(
        Json(body).into_response(),
        written.sloppy,
    ))
}

pub(super) async fn delete(call: Call) -> Result<Response, RequestError> {
    check_policy(&call.keyspace)?;
    let delete = call.to_delete();
    let deleted = call
        .edge
        .delete(call.admitted, call.keyspace, delete)
        .await?;
    let response = StatusCode::NO_CONTENT.into_response();
    Ok(headers::mark_sloppy(response, deleted.sloppy))
}

/// This form can show one value: writing siblings with it would hide them.
fn check_policy(keyspace: &Keyspace) -> Result<(), FieldRefused> {
    if keyspace.conflict == ConflictPolicy::Lww {
        return Ok(());
    }
    let name = &keyspace.name;
    let reason =
        format!("{name} keeps siblings, which this path can't show; use /v1/keyspaces/{name}/kv/");
    Err(FieldRefused::invalid("keyspace", reason))
}

/// A text's quotes are JSON's, not the value's: a text of just the limit is allowed.
fn length(value: &RawValue) -> usize {
    let text = value.get();
    if text.starts_with('"') {
        text.len() - 2
    } else {
        text.len()
    }
}

fn as_json(value: &[u8]) -> Cow<'_, RawValue> {
    if let Ok(json) = serde_json::from_slice::<&RawValue>(value) {
        return Cow::Borrowed(json);
    }
    let text = match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(STANDARD.encode(value)),
    };
    Cow::Owned(serde_json::value::to_raw_value(&text).expect("a string can be written as JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_the_text_that_came() {
        for json in [
            "null",
            "1.10",
            "\"a\\u0000\"",
            "[1, 2]",
            "{\"a\": {}}",
            "123456789012345678901",
        ] {
            assert_eq!(as_json(json.as_bytes()).get(), json);
        }
    }

    #[test]
    fn what_is_no_json_is_shown_as_a_string() {
        assert_eq!(as_json(b"hello").get(), "\"hello\"");
        assert_eq!(as_json(b"").get(), "\"\"");
        assert_eq!(as_json(&[0xff]).get(), "\"/w==\"");
    }

    #[test]
    fn a_body_needs_a_value_of_any_kind() {
        let body: PutBody<'_> = body::parse(br#"{"value": null}"#).unwrap();
        assert_eq!(body.value.get(), "null");
        for bad in [
            "",
            "{}",
            "[]",
            "{\"value\": }",
            "{\"value\": 1",
            "{\"ttl\": 1}",
        ] {
            assert!(body::parse::<PutBody<'_>>(bad.as_bytes()).is_err(), "{bad}");
        }
        for ttl in [
            "-1",
            "0",
            "1.5",
            "\"60\"",
            "1e3",
            "315360001",
            "99999999999999999999",
            "[]",
        ] {
            let text = format!("{{\"value\": 1, \"ttl\": {ttl}}}");
            let body: PutBody<'_> = body::parse(text.as_bytes()).unwrap();
            assert_eq!(body.ttl.check().unwrap_err().field, "ttl", "{ttl}");
        }
        let body: PutBody<'_> = body::parse(br#"{"value": 1, "ttl": null}"#).unwrap();
        assert_eq!(body.ttl.check(), Ok(None));
    }
}
