//! What both client edges, gRPC and HTTP, have in common.
//!
//! Owns: the bound on concurrent requests, deadlines, the look-up of keyspaces, the limit on
//! values, what a reader is shown of a key's state, the metrics of requests.
//!
//! Leaves to others: the form of requests and answers (`http`, `grpc`), how a request is carried
//! out (`coordinator`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annulus_causality::VersionVector;
use annulus_proto::model::{
    Consistency, ErrorCode, FieldRefused, KeyspaceName, Outcome, RequestError,
};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::contexts::Contexts;
use super::phase::Phase;
use super::request_bytes::RequestBytes;
use crate::clock::Clock;
use crate::config::Limits;
use crate::coordinator::{Coordinator, Delete, Deleted, Found, Get, Put, Written};
use crate::keyspace::{ConflictPolicy, Keyspace, Keyspaces};
use crate::overload::Overload;
use crate::replica::version_of;
use crate::telemetry::{Counted, Operation, RequestMetrics};

/// What the client edges share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ClientEdge(Arc<Parts>);

/// What a client edge is made of.
pub(crate) struct Parts {
    pub(crate) coordinator: Coordinator,
    pub(crate) keyspaces: Arc<Keyspaces>,
    pub(crate) contexts: Contexts,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: RequestMetrics,
    pub(crate) overload: Overload,
    pub(crate) request_bytes: RequestBytes,
    /// Requests go on to their end here when their client goes away.
    pub(crate) requests: TaskTracker,
}

impl fmt::Debug for ClientEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientEdge").finish_non_exhaustive()
    }
}

/// A request that was let in; it is out when this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
    arrived: Instant,
}

/// What a reader is shown of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Values; none when the key is absent, deleted or expired. One at most in `lww` keyspaces.
    pub(crate) siblings: Vec<ShownSibling>,
    /// Covers them all, and deletes.
    pub(crate) clock: VersionVector,
    /// `lww` keyspaces: the key's version. 0 elsewhere.
    pub(crate) version: u64,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownSibling {
    pub(crate) value: Bytes,
    /// Covers this value, and what the same vnode wrote before it.
    pub(crate) clock: VersionVector,
}

impl ClientEdge {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Lets a request in, or answers that there are too many.
    pub(crate) fn admit(&self) -> Result<Admitted, RequestError> {
        let permit = self.0.overload.admit().ok_or_else(|| {
            self.0.metrics.refuse();
            let at_once = self.0.overload.requests_in_flight();
            let message = format!("{at_once} requests are being worked on; try again later");
            RequestError::overloaded(message, self.0.limits.overload_retry_after)
        })?;
        let counted = self.0.metrics.enter();
        Ok(Admitted {
            _permit: permit,
            _counted: counted,
            arrived: self.0.clock.now(),
        })
    }

    /// Until when an admitted request may take.
    pub(crate) fn deadline(&self, admitted: &Admitted, timeout: Option<Duration>) -> Instant {
        match timeout {
            Some(timeout) => admitted.arrived + timeout.min(self.0.limits.max_request_timeout),
            None => self.0.clock.now() + self.0.limits.default_request_timeout,
        }
    }

    /// Until when an admitted request's body must be there.
    pub(crate) fn body_deadline(&self, admitted: &Admitted, timeout: Option<Duration>) -> Instant {
        let longest = self.0.limits.body_read_timeout;
        admitted.arrived + timeout.map_or(longest, |timeout| timeout.min(longest))
    }

    pub(crate) fn keyspace(&self, name: &KeyspaceName) -> Result<Arc<Keyspace>, RequestError> {
        self.0.keyspaces.get(name).cloned()
    }

    pub(crate) fn contexts(&self) -> &Contexts {
        &self.0.contexts
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn request_bytes(&self) -> &RequestBytes {
        &self.0.request_bytes
    }

    pub(crate) fn requests(&self) -> &TaskTracker {
        &self.0.requests
    }

    pub(crate) async fn get(
        &self,
        admitted: Admitted,
        keyspace: Arc<Keyspace>,
        get: Get,
    ) -> Result<Shown, RequestError> {
        self.ready()?;
        let level = get.read.unwrap_or(keyspace.read);
        let found = self.0.coordinator.get(get).await;
        let shown = found.map(|found| show(&keyspace, &found));
        let outcome = match &shown {
            Ok(shown) if shown.siblings.is_empty() => ErrorCode::NotFound.as_str(),
            Ok(shown) => {
                if keyspace.conflict == ConflictPolicy::Siblings {
                    self.0.metrics.observe_siblings(shown.siblings.len());
                }
                "ok"
            }
            Err(error) => error.code.as_str(),
        };
        self.observe(&admitted, Operation::Get, &keyspace, level, outcome);
        shown
    }

    pub(crate) async fn put(
        &self,
        admitted: Admitted,
        keyspace: Arc<Keyspace>,
        put: Put,
    ) -> Result<Written, RequestError> {
        self.ready()?;
        let edge = self.clone();
        self.to_its_end(async move {
            let level = put.write.unwrap_or(keyspace.write);
            let mut written = edge.0.coordinator.put(put).await;
            if let (Ok(written), ConflictPolicy::Siblings) = (&mut written, keyspace.conflict) {
                written.version = 0;
            }
            let outcome = written
                .as_ref()
                .map_or_else(|error| error.code.as_str(), |_| "ok");
            edge.observe(&admitted, Operation::Put, &keyspace, level, outcome);
            written
        })
        .await
    }

    pub(crate) async fn delete(
        &self,
        admitted: Admitted,
        keyspace: Arc<Keyspace>,
        delete: Delete,
    ) -> Result<Deleted, RequestError> {
        self.ready()?;
        let edge = self.clone();
        self.to_its_end(async move {
            let level = delete.write.unwrap_or(keyspace.write);
            let deleted = edge.0.coordinator.delete(delete).await;
            let outcome = match &deleted {
                Ok(deleted) if deleted.existed => "ok",
                Ok(_) => ErrorCode::NotFound.as_str(),
                Err(error) => error.code.as_str(),
            };
            edge.observe(&admitted, Operation::Delete, &keyspace, level, outcome);
            deleted
        })
        .await
    }

    /// A write that has begun is not given up because its client goes away: half a fan-out would
    /// leave its replicas to repair.
    async fn to_its_end<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T, RequestError>> + Send + 'static,
    ) -> Result<T, RequestError> {
        self.0.requests.spawn(write).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request's task failed");
            Err(RequestError::unknown(
                ErrorCode::Internal,
                "the request's task failed",
            ))
        })
    }

    fn ready(&self) -> Result<(), RequestError> {
        match *self.0.phase.borrow() {
            // A draining node finishes what reaches it over connections that still stand.
            Phase::Serving | Phase::Draining => Ok(()),
            Phase::WaitingForPlacement => Err(RequestError {
                retry_after: Some(self.0.limits.overload_retry_after),
                ..RequestError::rejected(
                    ErrorCode::Unavailable,
                    "this node was not told its placement yet; try again later or another node",
                )
            }),
        }
    }

    fn observe(
        &self,
        admitted: &Admitted,
        operation: Operation,
        keyspace: &Keyspace,
        level: Consistency,
        outcome: &'static str,
    ) {
        let now = self.0.clock.now();
        let took = now - admitted.arrived;
        if outcome == "ok" || outcome == ErrorCode::NotFound.as_str() {
            self.0.overload.answered(took, now);
        }
        self.0
            .metrics
            .observe(operation, &keyspace.name, level, outcome, took);
    }
}

/// Refuses a value that is larger than its keyspace allows.
pub(crate) fn check_value(keyspace: &Keyspace, bytes: usize) -> Result<(), FieldRefused> {
    let limit = keyspace.max_value_bytes;
    if bytes <= limit {
        return Ok(());
    }
    let reason = format!(
        "has {bytes} bytes; keyspace {} allows {limit}",
        keyspace.name
    );
    Err(FieldRefused::too_large("value", reason))
}

fn show(keyspace: &Keyspace, found: &Found) -> Shown {
    let Found { state, now_ms } = found;
    let live = state.live(*now_ms);
    let (shown, version): (Vec<_>, _) = match keyspace.conflict {
        ConflictPolicy::Siblings => (live.collect(), 0),
        // More than one there is only while replicas disagree.
        ConflictPolicy::Lww => {
            let last = live.max_by_key(|sibling| (sibling.stamp, sibling.dot));
            (last.into_iter().collect(), version_of(state))
        }
    };
    let siblings = shown.into_iter().filter_map(|sibling| {
        let value = sibling.value(*now_ms)?.clone();
        Some(ShownSibling {
            value,
            clock: sibling.dot.into(),
        })
    });
    Shown {
        siblings: siblings.collect(),
        clock: state.context(),
        version,
    }
}

/// A read that shows nothing, as an error: with the context of a deleted key.
pub(crate) fn not_found(context: Bytes) -> RequestError {
    RequestError {
        context: (!context.is_empty()).then_some(context),
        outcome: Outcome::Rejected,
        ..RequestError::rejected(ErrorCode::NotFound, "there is no such key")
    }
}
