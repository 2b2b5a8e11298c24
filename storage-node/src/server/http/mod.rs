//! Client HTTP: JSON over `/kv/…`, `/v1/data/…` and `/v1/keyspaces/{keyspace}/kv|data/…`.
//!
//! Owns: paths, query parameters, JSON bodies, statuses and headers, as `interfaces.md` has them.
//! Leaves to others: admission, deadlines, contexts (`server`), carrying out (`coordinator`).

mod body;
mod data;
mod error;
mod kv;
mod path;
mod query;

use std::sync::Arc;

use annulus_causality::VersionVector;
use annulus_proto::model::{Key, RequestError};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::Method;
use tokio::time::Instant;

use self::error::{HttpError, unknown_method, unknown_path};
use self::path::{Form, PathError, Target};
use self::query::Parameters;
use super::client_edge::{Admitted, ClientEdge};
use crate::coordinator::{Delete, Get, Put};
use crate::keyspace::Keyspace;

/// Everything that is served to clients over HTTP.
pub(crate) fn router(edge: ClientEdge) -> Router {
    Router::new().fallback(answer).with_state(edge)
}

/// One request about a key, as far as both forms read it alike.
struct Call {
    edge: ClientEdge,
    admitted: Admitted,
    keyspace: Arc<Keyspace>,
    key: Key,
    parameters: Parameters,
    body: Body,
}

async fn answer(State(edge): State<ClientEdge>, request: Request) -> Response {
    let target = match Target::parse(request.uri().path()) {
        Ok(target) => target,
        Err(PathError::Unknown) => return unknown_path(),
        Err(PathError::Refused(refused)) => return HttpError::from(refused).into_response(),
    };
    let method = request.method().clone();
    let form = target.form;
    let call = match Call::read(edge, target, request) {
        Ok(call) => call,
        Err(error) => return HttpError(error).into_response(),
    };
    let answer = match (form, &method) {
        (Form::Kv, &Method::GET | &Method::HEAD) => kv::get(call).await,
        (Form::Kv, &Method::PUT) => kv::put(call).await,
        (Form::Kv, &Method::DELETE) => kv::delete(call).await,
        (Form::Data, &Method::GET | &Method::HEAD) => data::get(call).await,
        (Form::Data, &Method::PUT) => data::put(call).await,
        (Form::Data, &Method::DELETE) => data::delete(call).await,
        _ => return unknown_method(&method),
    };
    answer.unwrap_or_else(|error| HttpError(error).into_response())
}

impl Call {
    fn read(edge: ClientEdge, target: Target, request: Request) -> Result<Self, RequestError> {
        let admitted = edge.admit()?;
        let parameters = Parameters::parse(request.uri())?;
        let keyspace = edge.keyspace(&target.keyspace)?;
        let body = request.into_body();
        Ok(Self {
            edge,
            admitted,
            keyspace,
            key: target.key,
            parameters,
            body,
        })
    }

    async fn read_body(&mut self) -> Result<Bytes, RequestError> {
        let limit = body::limit_bytes(self.keyspace.max_value_bytes);
        let deadline = self
            .edge
            .body_deadline(&self.admitted, self.parameters.timeout);
        body::read(std::mem::take(&mut self.body), limit, deadline).await
    }

    /// From now on, or from the request's arrival where it names a timeout.
    fn deadline(&self) -> Instant {
        self.edge.deadline(&self.admitted, self.parameters.timeout)
    }

    fn take_get(&mut self) -> Result<Get, RequestError> {
        let min_context = match self.parameters.min_context.take() {
            Some(json) => Some(self.edge.contexts().verify_readable(
                &self.keyspace,
                &self.key,
                "min_context",
                json,
            )?),
            None => None,
        };
        Ok(Get {
            keyspace: self.keyspace.name.clone(),
            key: self.key.clone(),
            read: self.parameters.read,
            min_context,
            deadline: self.deadline(),
        })
    }

    fn to_put(&self, value: Bytes) -> Put {
        Put {
            keyspace: self.keyspace.name.clone(),
            key: self.key.clone(),
            value,
            context: VersionVector::new(),
            ttl: None,
            write: self.parameters.write,
            request_id: None,
            sloppy: self.parameters.sloppy,
            deadline: self.deadline(),
        }
    }

    fn to_delete(&self) -> Delete {
        Delete {
            keyspace: self.keyspace.name.clone(),
            key: self.key.clone(),
            context: None,
            read: self.parameters.read,
            write: self.parameters.write,
            request_id: None,
            sloppy: self.parameters.sloppy,
            deadline: self.deadline(),
        }
    }
}
