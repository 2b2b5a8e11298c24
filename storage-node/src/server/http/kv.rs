//! `/kv/…`: bytes as base64, siblings, contexts.

use annulus_causality::VersionVector;
use annulus_proto::model::{FieldRefused, Key, RequestError};
use axum::Json;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Call;
use super::body::{self, JsonTtl};
use super::error::{ErrorBody, with_status};
use crate::coordinator::{Delete, Put};
use crate::server::client_edge::{check_value, not_found};
use crate::server::contexts::JsonContext;
use crate::server::headers;

#[derive(Debug, Deserialize)]
struct PutBody {
    value: String,
    context: Option<JsonContext>,
    #[serde(default)]
    ttl: JsonTtl,
}

#[derive(Debug, Default, Deserialize)]
struct DeleteBody {
    context: Option<JsonContext>,
}

#[derive(Debug, Serialize)]
struct WrittenBody<'key> {
    key: &'key str,
    context: JsonContext,
}

#[derive(Debug, Serialize)]
struct DeletedBody<'key> {
    key: &'key str,
    deleted: bool,
    context: JsonContext,
}

#[derive(Debug, Serialize)]
struct FoundBody<'key> {
    key: &'key str,
    values: Vec<FoundValue>,
    context: JsonContext,
}

#[derive(Debug, Serialize)]
struct FoundValue {
    value: String,
    context: JsonContext,
}

/// A key without a value; `error` is there for clients that look at every error alike.
#[derive(Debug, Serialize)]
struct AbsentBody<'key> {
    key: &'key str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<JsonContext>,
    #[serde(flatten)]
    error: ErrorBody,
}

pub(super) async fn get(mut call: Call) -> Result<Response, RequestError> {
    let get = call.take_get()?;
    let Call {
        edge,
        admitted,
        keyspace,
        key,
        ..
    } = call;
    let shown = edge.get(admitted, keyspace.clone(), get).await?;
    let seal = |clock| edge.contexts().readable(&keyspace, &key, clock);
    if shown.siblings.is_empty() {
        let context = (!shown.clock.is_empty()).then(|| seal(shown.clock));
        return Ok(absent(&key, context));
    }
    let values = shown.siblings.into_iter().map(|sibling| FoundValue {
        value: STANDARD.encode(&sibling.value),
        context: seal(sibling.clock),
    });
    let values = values.collect();
    Ok(Json(FoundBody {
        key: text(&key),
        values,
        context: seal(shown.clock),
    })
    .into_response())
}

pub(super) async fn put(mut call: Call) -> Result<Response, RequestError> {
    let bytes = call.read_body().await?;
    let body: PutBody = body::parse(&bytes)?;
    let value = STANDARD
        .decode(&body.value)
        .map_err(|error| FieldRefused::invalid("value", format!("is not base64: {error}")))?;
    check_value(&call.keyspace, value.len())?;
    let context = call.verified(body.context)?.unwrap_or_default();
    let put = Put {
        context,
        ttl: body.ttl.check()?,
        ..call.to_put(Bytes::from(value))
    };
    let Call {
        edge,
        admitted,
        keyspace,
        key,
        ..
    } = call;
    let written = edge.put(admitted, keyspace.clone(), put).await?;
    let context = edge.contexts().readable(&keyspace, &key, written.clock);
    let body = Json(WrittenBody {
        key: text(&key),
        context,
    });
    let response = (StatusCode::CREATED, body).into_response();
    Ok(headers::mark_sloppy(response, written.sloppy))
}

pub(super) async fn delete(mut call: Call) -> Result<Response, RequestError> {
    let bytes = call.read_body().await?;
    let body: DeleteBody = if bytes.is_empty() {
        DeleteBody::default()
    } else {
        body::parse(&bytes)?
    };
    // An empty clock has seen nothing: that is no context.
    let context = call
        .verified(body.context)?
        .filter(|clock| !clock.is_empty());
    let delete = Delete {
        context,
        ..call.to_delete()
    };
    let Call {
        edge,
        admitted,
        keyspace,
        key,
        ..
    } = call;
    let deleted = edge.delete(admitted, keyspace.clone(), delete).await?;
    let (known, sloppy) = (!deleted.clock.is_empty(), deleted.sloppy);
    let context = edge.contexts().readable(&keyspace, &key, deleted.clock);
    if deleted.existed {
        let body = DeletedBody {
            key: text(&key),
            deleted: true,
            context,
        };
        Ok(headers::mark_sloppy(Json(body).into_response(), sloppy))
    } else {
        Ok(absent(&key, known.then_some(context)))
    }
}

impl Call {
    fn verified(
        &self,
        context: Option<JsonContext>,
    ) -> Result<Option<VersionVector>, RequestError> {
        let Some(context) = context else {
            return Ok(None);
        };
        let contexts = self.edge.contexts();
        contexts
            .verify_readable(&self.keyspace, &self.key, "context", context)
            .map(Some)
    }
}

fn absent(key: &Key, context: Option<JsonContext>) -> Response {
    let error = not_found(Bytes::new());
    let body = AbsentBody {
        key: text(key),
        context,
        error: ErrorBody::from(&error),
    };
    with_status(&error, Json(body).into_response())
}

fn text(key: &Key) -> &str {
    std::str::from_utf8(key.as_bytes()).expect("a path's key was read as UTF-8")
}
