//! The client: what callers hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use annulus_proto::kv::v1::{
    DeleteRequest, GetRequest, GetRingRequest, GetRingResponse, PutRequest, RequestId,
};
use annulus_proto::model::{Consistency, ErrorCode, Key, KeyspaceName};
use annulus_ring::Placement;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Response;
use tracing::{debug, warn};

use crate::answer::{Reading, Removal, Writing};
use crate::attempts::Attempts;
use crate::budget::Budget;
use crate::clock;
use crate::context::Context;
use crate::error::ClientError;
use crate::operation::Operation;
use crate::options::{ClientOptions, DeleteOptions, GetOptions, PutOptions, Routing};
use crate::pool::Pool;
use crate::ring_view::RingView;
use crate::route::{Address, Candidates, order};
use crate::session::Session;

/// Where an answer's epoch is found.
const EPOCH_HEADER: &str = "x-annulus-epoch";

/// The shortest time between two refreshes of the placement.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// Reads and writes by key, over all nodes of a cluster. Cheap to clone; clones share connections,
/// the known placement and the retry budget.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    options: ClientOptions,
    attempts: Attempts,
    ring: RingView,
    /// Drawn once; with `sequence` it identifies each write.
    id: u64,
    sequence: AtomicU64,
    /// Spreads requests over equal nodes.
    turn: AtomicUsize,
    refreshing: AtomicBool,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.close();
        self.stop.cancel();
    }
}

impl Client {
    /// A client of the cluster that these nodes (client gRPC, `host:port`) belong to. One that
    /// routes to owners asks for the placement now and fails if no node can be reached; one that
    /// routes to the endpoints connects at its first request.
    pub async fn connect<E, A>(endpoints: E, options: ClientOptions) -> Result<Self, ClientError>
    where
        E: IntoIterator<Item = A>,
        A: AsRef<str>,
    {
        let endpoints: Vec<Address> = endpoints
            .into_iter()
            .map(|address| Address::from(address.as_ref()))
            .collect();
        if endpoints.is_empty() {
            return Err(ClientError::invalid(
                "no endpoint given; give one HOST:PORT at least",
            ));
        }
        let attempts = Attempts {
            pool: Pool::new(options.connect_timeout, options.connections_per_node),
            policy: options.retry.clone(),
            attempt_timeout: options.attempt_timeout,
            budget: Mutex::new(Budget::default()),
        };
        let shared = Shared {
            attempts,
            ring: RingView::new(endpoints),
            id: clock::random_id(),
            sequence: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            refreshing: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            options,
        };
        let client = Self {
            shared: Arc::new(shared),
        };
        if client.shared.options.routing == Routing::Owner {
            client.ring().await?;
        }
        Ok(client)
    }

    /// Reads a key. That it is absent is no error: the reading has no values then.
    pub async fn get(&self, key: &Key, options: &GetOptions) -> Result<Reading, ClientError> {
        let request = GetRequest {
            keyspace: options.keyspace.to_string(),
            key: key.to_bytes(),
            read_consistency: to_wire(options.consistency),
            min_context: Context::to_wire(options.min_context.as_ref()),
        };
        match self
            .send(&options.keyspace, key, &request, options.timeout)
            .await
        {
            Ok(response) => Ok(response.into()),
            Err(error) if error.code == ErrorCode::NotFound => Ok(Reading {
                context: error.context,
                ..Reading::default()
            }),
            Err(error) => Err(error),
        }
    }

    /// Writes a key.
    pub async fn put(
        &self,
        key: &Key,
        value: impl Into<Bytes>,
        options: &PutOptions,
    ) -> Result<Writing, ClientError> {
        let request = PutRequest {
            keyspace: options.keyspace.to_string(),
            key: key.to_bytes(),
            value: value.into(),
            context: Context::to_wire(options.context.as_ref()),
            ttl: options.ttl.map(|ttl| {
                i64::try_from(ttl.seconds()).expect("a time to live is ten years at most")
            }),
            write_consistency: to_wire(options.consistency),
            request_id: Some(self.next_request_id()),
            sloppy: options.sloppy,
        };
        let response = self
            .send(&options.keyspace, key, &request, options.timeout)
            .await?;
        Ok(response.into())
    }

    /// Deletes a key.
    pub async fn delete(&self, key: &Key, options: &DeleteOptions) -> Result<Removal, ClientError> {
        let request = DeleteRequest {
            keyspace: options.keyspace.to_string(),
            key: key.to_bytes(),
            context: Context::to_wire(options.context.as_ref()),
            read_consistency: to_wire(options.read_consistency),
            write_consistency: to_wire(options.write_consistency),
            request_id: Some(self.next_request_id()),
            sloppy: options.sloppy,
        };
        match self
            .send(&options.keyspace, key, &request, options.timeout)
            .await
        {
            Ok(response) => Ok(response.into()),
            Err(error) if error.code == ErrorCode::NotFound => Ok(Removal {
                deleted: false,
                context: error.context,
                sloppy: false,
            }),
            Err(error) => Err(error),
        }
    }

    /// A session: reads its own writes, and never reads backwards, at any consistency.
    pub fn session(&self) -> Session {
        Session::new(self.clone())
    }

    /// The placement, asked for anew.
    pub async fn ring(&self) -> Result<Arc<Placement>, ClientError> {
        self.shared.fetch_ring().await
    }

    async fn send<O: Operation>(
        &self,
        keyspace: &KeyspaceName,
        key: &Key,
        operation: &O,
        time: Option<Duration>,
    ) -> Result<O::Answer, ClientError> {
        let shared = &self.shared;
        let (owners, others) = match shared.options.routing {
            Routing::Owner => shared.ring.candidates(keyspace.as_str(), key.as_bytes()),
            Routing::Endpoint => (Vec::new(), shared.ring.endpoints().to_vec()),
        };
        let route = shared.route(&owners, &others, O::IS_WRITE);
        let time = time.unwrap_or(shared.options.timeout);
        let result = shared.attempts.run(&route, operation, time).await;
        self.notice(&result, &route);
        result.map(Response::into_inner)
    }

    /// Learns from an answer that the placement has changed, and asks for it in the background.
    fn notice<T>(&self, result: &Result<Response<T>, ClientError>, route: &[Address]) {
        let shared = &self.shared;
        if shared.options.routing == Routing::Endpoint {
            return;
        }
        if let Ok(response) = result
            && let Some(epoch) = response.metadata().get(EPOCH_HEADER)
            && let Some(epoch) = epoch.to_str().ok().and_then(|text| text.parse().ok())
        {
            shared.ring.see_epoch(epoch);
        }
        let owner_gone = route
            .first()
            .is_some_and(|owner| shared.attempts.pool.is_avoided(owner, clock::now()));
        if shared.ring.is_behind() || owner_gone {
            self.refresh_in_background();
        }
    }

    fn refresh_in_background(&self) {
        if self.shared.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let weak = Arc::downgrade(&self.shared);
        let stop = self.shared.stop.clone();
        let refresh = async move {
            if let Some(shared) = weak.upgrade()
                && let Err(error) = shared.fetch_ring().await
            {
                warn!(%error, "the placement could not be refreshed; going on with the old one");
            }
            sleep(REFRESH_PAUSE).await;
            if let Some(shared) = weak.upgrade() {
                shared.refreshing.store(false, Ordering::Release);
            }
        };
        self.shared.tasks.spawn(async move {
            stop.run_until_cancelled(refresh).await;
        });
    }

    fn next_request_id(&self) -> RequestId {
        let sequence = self.shared.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        RequestId {
            client: self.shared.id,
            sequence,
        }
    }
}

impl Shared {
    fn route(&self, owners: &[Address], others: &[Address], is_write: bool) -> Vec<Address> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let now = clock::now();
        order(&Candidates { owners, others }, is_write, turn, |address| {
            self.attempts.pool.is_avoided(address, now)
        })
    }

    async fn fetch_ring(&self) -> Result<Arc<Placement>, ClientError> {
        let (_, known) = self.ring.candidates("", b"");
        let route = self.route(&[], &known, false);
        let request = GetRingRequest {
            known_epoch: self.ring.epoch(),
        };
        let response = self
            .attempts
            .run(&route, &request, self.options.timeout)
            .await?;
        let GetRingResponse { epoch, placement } = response.into_inner();
        if let Some(placement) = placement {
            let placement = Placement::try_from(placement).map_err(|refused| {
                ClientError::invalid(format!("the node's placement is refused: {refused}"))
            })?;
            debug!(
                epoch,
                nodes = placement.nodes().len(),
                "learned the placement"
            );
            self.ring.learn(placement);
        }
        self.ring.placement().ok_or_else(|| {
            ClientError::invalid("the node has no placement yet; wait until the cluster is ready")
        })
    }
}

fn to_wire(consistency: Option<Consistency>) -> String {
    consistency
        .map(|level| level.to_string())
        .unwrap_or_default()
}
