//! The batch stream: independent requests with ids, answered in any order.
//!
//! Bound: so many requests of a stream are worked on at once; the stream is not read further
//! until one of their answers was taken by the client, nor until there is room for their bytes.

use annulus_proto::kv::v1 as pb;
use annulus_proto::kv::v1::batch_request::Request;
use annulus_proto::kv::v1::batch_response::Response;
use annulus_proto::model::{FieldRefused, RequestError};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::key_value::{delete, get, put};
use crate::server::client_edge::ClientEdge;
use crate::server::request_bytes::{RequestBytes, Room};

/// The answers to a stream of requests. On `drain` no further request is read, and the stream
/// ends once those that were are answered.
pub(super) fn answers(
    edge: ClientEdge,
    requests: impl Stream<Item = Result<pb::BatchRequest, Status>> + Send + 'static,
    drain: CancellationToken,
) -> BoxStream<'static, Result<pb::BatchResponse, Status>> {
    let at_once = edge.limits().max_batch_requests_in_flight;
    let bytes = edge.request_bytes().clone();
    requests
        .take_until(drain.cancelled_owned())
        .then(move |request| find_room(bytes.clone(), request))
        .map(move |request| begin(edge.clone(), request))
        .buffer_unordered(at_once)
        .boxed()
}

/// The stream is not read further until there is room for what was read.
async fn find_room(
    bytes: RequestBytes,
    request: Result<pb::BatchRequest, Status>,
) -> Result<(pb::BatchRequest, Option<Room>), Status> {
    let request = request?;
    let room = bytes.wait_for(request.encoded_len()).await;
    Ok((request, room))
}

/// Each request is a task of its own: it goes on while its client is slow to take answers.
fn begin(
    edge: ClientEdge,
    request: Result<(pb::BatchRequest, Option<Room>), Status>,
) -> impl Future<Output = Result<pb::BatchResponse, Status>> {
    let tasks = edge.requests().clone();
    let task = request.map(|(request, room)| {
        tasks.spawn(async move {
            let response = answer(edge, request).await;
            drop(room);
            response
        })
    });
    async move {
        task?.await.map_err(|error| {
            tracing::error!(%error, "a request's task failed");
            Status::internal("a request's task failed")
        })
    }
}

async fn answer(edge: ClientEdge, message: pb::BatchRequest) -> pb::BatchResponse {
    let response = match message.request {
        Some(Request::Get(message)) => get(&edge, message, None).await.map(Response::Get),
        Some(Request::Put(message)) => put(&edge, message, None).await.map(Response::Put),
        Some(Request::Delete(message)) => delete(&edge, message, None).await.map(Response::Delete),
        None => Err(FieldRefused::invalid("request", "is missing or of a newer kind").into()),
    };
    let response = response.unwrap_or_else(|error| Response::Error(write_error(error)));
    pb::BatchResponse {
        id: message.id,
        response: Some(response),
    }
}

fn write_error(error: RequestError) -> pb::Error {
    let retry_after = error.retry_after.unwrap_or_default().as_millis();
    pb::Error {
        code: error.code.as_str().to_owned(),
        retryable: error.is_retryable(),
        outcome: error.outcome.as_str().to_owned(),
        retry_after_ms: u64::try_from(retry_after).unwrap_or(u64::MAX),
        context: error.context.unwrap_or_default(),
        message: error.message,
    }
}
