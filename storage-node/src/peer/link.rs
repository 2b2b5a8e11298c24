//! One peer's stream: connect, greet, carry, connect again.
//!
//! After a stream that stood has broken, callers wait for one attempt to connect again (the peer may
//! just have been restarted); once that fails, calls fail at once until a later attempt succeeds. Each
//! attempt resolves the address anew: a peer that moved has a new one behind the same name.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use annulus_proto::peer::v1::peer_client::PeerClient;
use annulus_proto::peer::v1::{Hello, ReplyFrame, RequestFrame, Welcome};
use annulus_ring::{NodeId, Placement};
use futures::Stream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Endpoint;

use super::outbox::Outbox;
use super::service::{MAX_MESSAGE_BYTES, WINDOW_BYTES};
use super::transport::Reachability;
use crate::clock::Clock;
use crate::entropy::Randomness;
use crate::net::Network;
use crate::placement::PlacementStore;

/// How long a connection, its greeting included, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The pause after the first failed attempt; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A stream that breaks sooner than this was no success: the next attempt comes after a pause.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How often a connection is asked for a sign of life.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// How long that sign may take before the connection is given up.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why an attempt to connect, or a stream, ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("it is not in the placement")]
    NotPlaced,
    #[error("address {address:?}: {error}")]
    Connect {
        address: String,
        error: tonic::transport::Error,
    },
    #[error("no greeting within {CONNECT_TIMEOUT:?}")]
    Timeout,
    #[error("{0}")]
    Stream(#[from] Box<tonic::Status>),
    #[error("it ended the stream")]
    Ended,
    #[error("{found:?} answers at its address")]
    OtherNode { found: String },
}

/// One peer's link. [`Self::run`] keeps it standing.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: NodeId,
    pub(super) outbox: Arc<Outbox>,
    pub(super) network: Network,
    pub(super) placement: PlacementStore,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) randomness: Arc<dyn Randomness>,
}

impl Link {
    /// Keeps the link standing until it is stopped.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut failures = 0;
        while !stop.is_cancelled() {
            let stood_long = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                stood_long = self.session(failures) => stood_long,
            };
            if stood_long {
                failures = 0;
                continue; // at once, and callers may wait for it
            }
            failures += 1;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep(self.pause(failures)) => {}
            }
        }
        self.outbox.close(
            "this node stops, or the peer left the ring",
            Reachability::Unreachable,
        );
    }

    /// One attempt and the stream that comes of it. Whether a stream stood for a while.
    async fn session(&self, failures: u32) -> bool {
        let session = self.outbox.begin_session();
        let peer = self.peer;
        match timeout(CONNECT_TIMEOUT, self.greet(session)).await {
            Ok(Ok(replies)) => {
                tracing::info!(%peer, "peer connected");
                self.outbox.open(session);
                let opened = self.clock.now();
                let error = self.carry(replies).await;
                tracing::warn!(%peer, %error, "peer disconnected");
                self.outbox
                    .close("the connection broke", Reachability::Connecting);
                self.clock.now() >= opened + SHORT_LIFE
            }
            failed => {
                let error = match failed {
                    Ok(Err(error)) => error,
                    _ => SessionError::Timeout,
                };
                if failures == 0 {
                    tracing::warn!(%peer, %error, "peer can't be reached; trying on");
                }
                self.outbox
                    .close("it can't be reached", Reachability::Unreachable);
                false
            }
        }
    }

    /// Connects and greets.
    async fn greet(&self, session: u64) -> Result<Streaming<ReplyFrame>, SessionError> {
        let placement = self.placement.current().ok_or(SessionError::NotPlaced)?;
        let node = placement
            .node_by_id(self.peer)
            .ok_or(SessionError::NotPlaced)?;
        let address = &node.addresses.peer;
        let failed = |error| SessionError::Connect {
            address: address.clone(),
            error,
        };
        let endpoint = endpoint(address).map_err(failed)?;
        let channel = self.network.connect(&endpoint, address).await;
        let channel = channel.map_err(failed)?;
        let mut client = PeerClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let requests = Requests {
            hello: Some(self.hello(&placement)),
            began: self.clock.now(),
            session,
            outbox: self.outbox.clone(),
            clock: self.clock.clone(),
        };
        let mut replies = client
            .exchange(requests)
            .await
            .map_err(Box::new)?
            .into_inner();
        let first = replies
            .message()
            .await
            .map_err(Box::new)?
            .ok_or(SessionError::Ended)?;
        let Welcome { node_id } = first.welcome.unwrap_or_default();
        if node_id != self.peer.to_string() {
            return Err(SessionError::OtherNode { found: node_id });
        }
        Ok(replies)
    }

    fn hello(&self, placement: &Placement) -> Hello {
        Hello {
            cluster_id: placement.cluster_id().to_string(),
            from: self.placement.node().to_string(),
            to: self.peer.to_string(),
        }
    }

    /// Takes replies until the stream ends.
    async fn carry(&self, mut replies: Streaming<ReplyFrame>) -> SessionError {
        loop {
            match replies.message().await {
                Ok(Some(frame)) => {
                    for reply in frame.replies {
                        if let Some(body) = reply.body {
                            self.outbox.answered(reply.id, body);
                        }
                    }
                }
                Ok(None) => return SessionError::Ended,
                Err(status) => return Box::new(status).into(),
            }
        }
    }

    /// Doubles with each failure, up to a limit, and is spread by half either way so that many nodes
    /// don't come back to a restarted one at the same moment.
    fn pause(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(10);
        let pause = (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
        let percent = u32::try_from(50 + self.randomness.u64() % 100).expect("below 150");
        pause * percent / 100
    }
}

fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES))
}

/// The frames of one session: the greeting, then what the outbox has.
struct Requests {
    hello: Option<Hello>,
    began: Instant,
    session: u64,
    outbox: Arc<Outbox>,
    clock: Arc<dyn Clock>,
}

impl Stream for Requests {
    type Item = RequestFrame;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<RequestFrame>> {
        let now = self.clock.now();
        let since = now.saturating_duration_since(self.began).as_millis();
        let written_ms = u64::try_from(since).unwrap_or(u64::MAX);
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(RequestFrame {
                hello: Some(hello),
                written_ms,
                ..RequestFrame::default()
            }));
        }
        let frame = self.outbox.poll_frame(self.session, now, context);
        frame.map(|frame| {
            frame.map(|frame| RequestFrame {
                written_ms,
                ..frame
            })
        })
    }
}
