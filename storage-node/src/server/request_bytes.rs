//! The bytes of request bodies that are in memory, bounded over all of a node's clients.
//!
//! A message is put together before any handler sees it, so bytes are counted as they arrive, and held
//! until the request is answered. Streams are not counted here: their requests are, one by one, and a
//! stream whose next request finds no room is not read further.
//!
//! Leaves to others: how long one body may be (`http`, `grpc`), and how many requests there are
//! (`client_edge`).

use std::sync::Arc;
use std::time::Duration;

use annulus_proto::model::RequestError;
use annulus_proto::write_status;
use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::config::Limits;
use crate::telemetry::RequestMetrics;

/// The one call whose body is as long as its client likes.
const STREAM: &str = "/annulus.kv.v1.KeyValue/Batch";

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RequestBytes {
    free: Arc<Semaphore>,
    limit: usize,
    retry_after: Duration,
    metrics: RequestMetrics,
}

/// Room for a request's bytes; free again when this is dropped.
pub(crate) type Room = OwnedSemaphorePermit;

/// Too many bytes wait already. As a status for gRPC, which looks for one in a body's errors.
#[derive(Debug, thiserror::Error)]
#[error("{}", .refused.message)]
pub(super) struct TooManyBytes {
    pub(super) refused: RequestError,
    /// The bytes that were refused, and are gone.
    pub(super) bytes: usize,
    #[source]
    status: Status,
}

impl RequestBytes {
    pub(crate) fn new(limits: &Limits, metrics: RequestMetrics) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limits.max_request_bytes)),
            limit: limits.max_request_bytes,
            retry_after: limits.overload_retry_after,
            metrics,
        }
    }

    fn take(&self, bytes: usize) -> Result<Room, TooManyBytes> {
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.free).try_acquire_many_owned(wanted);
        room.map_err(|_| {
            self.metrics.refuse();
            let message = format!(
                "requests of {} bytes are being worked on; try again later",
                self.limit
            );
            let refused = RequestError::overloaded(message, self.retry_after);
            let status = write_status(&refused);
            TooManyBytes {
                refused,
                bytes,
                status,
            }
        })
    }

    /// Waits for room; `None`: the node stops.
    pub(crate) async fn wait_for(&self, bytes: usize) -> Option<Room> {
        let wanted = bytes.min(self.limit);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.free).acquire_many_owned(wanted);
        room.await.ok()
    }

    /// Counts the bodies of all requests to a router.
    pub(crate) fn count(self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self, count))
    }
}

async fn count(State(bytes): State<RequestBytes>, request: Request, next: Next) -> Response {
    if request.uri().path() == STREAM || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let held = Arc::new(Mutex::new(None::<Room>));
    let holds = held.clone();
    let request = request.map(|body| {
        let data = body.into_data_stream().map(move |data| {
            let data = data.map_err(axum::Error::into_inner)?;
            let room = bytes.take(data.len())?;
            match &mut *holds.lock() {
                Some(held) => held.merge(room),
                nothing => *nothing = Some(room),
            }
            Ok::<_, axum::BoxError>(data)
        });
        Body::from_stream(data)
    });
    let response = next.run(request).await;
    held.lock().take();
    response
}
