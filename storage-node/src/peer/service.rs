//! The gRPC service: batches in, batches out.
//!
//! Each stream is served by one task: requests run side by side, and whatever is ready leaves in one
//! frame. The number that runs at a time is what one caller may have in flight, so a caller that
//! keeps to its own bound is never held up.

use std::time::Duration;

use annulus_proto::peer::v1::peer_server::{Peer, PeerServer};
use annulus_proto::peer::v1::{Hello, Reply, ReplyFrame, Request, RequestFrame, Welcome, reply};
use axum::Router;
use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::{Response, Status, Streaming};

use super::frame_age::FrameAges;
use super::outbox::MAX_CALLS;
use super::responder::Responder;

/// The largest frame either way: 1 MiB, or one request with a state of any size that merges may build.
pub(super) const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// Bytes on the way in each direction of a connection before the receiver has taken them.
pub(crate) const WINDOW_BYTES: u32 = 8 << 20;

/// How long a caller may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// Reply frames waiting to be written to one caller.
const MAX_WAITING_FRAMES: usize = 8;

/// How often refusals of an old epoch carry the newer placement, on each stream.
const TELL_PLACEMENT_EVERY: Duration = Duration::from_millis(100);

/// Replies in one frame.
const MAX_FRAME_REPLIES: usize = 256;

/// Bytes of the states in one reply frame, unless a single one is larger.
const MAX_FRAME_BYTES: usize = 1 << 20;

/// Serves peers.
#[derive(Debug, Clone)]
pub(crate) struct PeerService {
    responder: Responder,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl PeerService {
    /// A service whose streams end at `shutdown`.
    pub(crate) fn new(
        responder: Responder,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            responder,
            tasks,
            shutdown,
        }
    }

    /// Everything that is served to peers.
    pub(crate) fn router(self) -> Router {
        let service = PeerServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Routes::new(service).into_axum_router()
    }

    fn check(&self, hello: &Hello) -> Result<(), Status> {
        let placement = self.responder.placement();
        let node = placement.node().to_string();
        if hello.to != node {
            let message = format!("this is node {node}, not {}", hello.to);
            return Err(Status::failed_precondition(message));
        }
        let cluster = placement
            .current()
            .map(|placement| placement.cluster_id().to_string());
        match cluster {
            Some(cluster) if cluster != hello.cluster_id => {
                let message = format!("this is cluster {cluster}, not {}", hello.cluster_id);
                Err(Status::failed_precondition(message))
            }
            _ => Ok(()),
        }
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    type ExchangeStream = ReceiverStream<Result<ReplyFrame, Status>>;

    async fn exchange(
        &self,
        request: tonic::Request<Streaming<RequestFrame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let mut requests = request.into_inner();
        let first = timeout(HELLO_TIMEOUT, requests.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let mut ages = FrameAges::new(self.responder.clock().now());
        let hello = first.and_then(|frame| {
            ages.age(frame.written_ms, self.responder.clock().now());
            frame.hello
        });
        self.check(&hello.ok_or_else(|| Status::invalid_argument("the first frame is no hello"))?)?;

        let (frames, receiver) = mpsc::channel(MAX_WAITING_FRAMES);
        let node_id = self.responder.placement().node().to_string();
        let welcome = ReplyFrame {
            welcome: Some(Welcome { node_id }),
            replies: Vec::new(),
        };
        frames
            .try_send(Ok(welcome))
            .map_err(|_| Status::internal("a new channel is full"))?;
        let (responder, shutdown) = (self.responder.clone(), self.shutdown.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = serve_stream(&responder, requests, ages, frames) => {}
                () = shutdown.cancelled() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Serves one stream until the caller ends it or no longer takes replies.
async fn serve_stream(
    responder: &Responder,
    mut requests: Streaming<RequestFrame>,
    mut ages: FrameAges,
    frames: mpsc::Sender<Result<ReplyFrame, Status>>,
) {
    let mut running = FuturesUnordered::new();
    let mut told_placement: Option<Instant> = None;
    let mut open = true;
    while open || !running.is_empty() {
        tokio::select! {
            biased; // what is ready leaves before more is taken on
            // Both are cancel-safe: they keep their progress in `requests` and `running`.
            Some(first) = running.next(), if !running.is_empty() => {
                let mut replies = vec![first];
                let mut bytes = size_of(&replies[0]);
                while replies.len() < MAX_FRAME_REPLIES && bytes < MAX_FRAME_BYTES {
                    let Some(Some(next)) = running.next().now_or_never() else { break };
                    bytes += size_of(&next);
                    replies.push(next);
                }
                tell_placement(responder, &mut replies, &mut told_placement);
                if frames.send(Ok(ReplyFrame { welcome: None, replies })).await.is_err() {
                    return;
                }
            }
            frame = requests.message(), if open && running.len() < MAX_CALLS => match frame {
                Ok(Some(frame)) => {
                    let age = ages.age(frame.written_ms, responder.clock().now());
                    let requests = frame.requests.into_iter().map(|request| aged(request, age));
                    running.extend(requests.map(|request| responder.respond(request)));
                }
                Ok(None) => open = false,
                Err(_) => return, // the connection broke: nobody takes replies any more
            },
        }
    }
}

/// A request with so much less time left.
fn aged(request: Request, age: Duration) -> Request {
    let age = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
    Request {
        deadline_ms: request.deadline_ms.saturating_sub(age),
        ..request
    }
}

/// One of the refusals of an old epoch carries the newer placement, now and then: the first may reach
/// a caller that has gone away.
fn tell_placement(responder: &Responder, replies: &mut [Reply], told: &mut Option<Instant>) {
    let now = responder.clock().now();
    for reply in replies {
        let is_due = told.is_none_or(|told| now >= told + TELL_PLACEMENT_EVERY);
        if is_due && responder.attach_newer_placement(reply) {
            *told = Some(now);
        }
    }
}

fn size_of(reply: &Reply) -> usize {
    match &reply.body {
        Some(reply::Body::Read(read)) => read.state.as_ref().map_or(0, bytes::Bytes::len),
        Some(reply::Body::ScanStates(page)) => {
            page.states.iter().map(|stored| stored.state.len()).sum()
        }
        _ => 0,
    }
}
