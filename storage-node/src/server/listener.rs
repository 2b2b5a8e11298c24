//! A listening socket and the connections that come from it.
//!
//! Owns: accepting, the bound on connections, the time that a silent connection is kept, HTTP/1
//! and HTTP/2 on one port, ending connections in an orderly way. All four ports are served here,
//! so they behave alike.
//!
//! Leaves to others: what is answered (a router is handed in).

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Limits;
use crate::net::{Acceptor, Connection, Network};
use crate::peer::WINDOW_BYTES;
use crate::telemetry::RequestMetrics;

/// How long accepting rests when the system is out of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often an HTTP/2 connection is asked whether it still lives, and how long it may take.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_WITHIN: Duration = Duration::from_secs(20);
/// The same for other nodes, whose silence matters sooner.
const PEER_PING_EVERY: Duration = Duration::from_secs(5);
const PEER_PING_WITHIN: Duration = Duration::from_secs(5);
/// Flow-control windows: the memory that one stream, one connection may hold for unread bytes.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1 and HTTP/2.
    Http,
    /// HTTP/2 alone.
    Grpc,
    /// HTTP/2 alone, with other nodes.
    Peer,
}

/// The two ways to end a listener: `drain` lets connections finish what they do, `abort` doesn't.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    pub(crate) drain: CancellationToken,
    pub(crate) abort: CancellationToken,
}

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Listener {
    name: &'static str,
    socket: Acceptor,
    protocol: Protocol,
}

impl Listener {
    /// Binds; port 0 takes a free one.
    pub(crate) async fn bind(
        network: &Network,
        name: &'static str,
        address: SocketAddr,
        protocol: Protocol,
    ) -> std::io::Result<Self> {
        Ok(Self {
            name,
            socket: network.listen(address).await?,
            protocol,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.address()
    }

    /// Serves until `stop.drain`; returns once every connection has ended.
    pub(crate) async fn serve(
        self,
        router: Router,
        limits: Limits,
        metrics: RequestMetrics,
        stop: Stop,
    ) {
        let permits = Arc::new(Semaphore::new(limits.max_connections));
        let server = Server {
            http: http_builder(self.protocol, &limits),
            service: TowerToHyperService::new(router),
            silence: limits.header_read_timeout,
            drain: stop.drain.clone(),
            abort: stop.abort,
            metrics,
        };
        let server = Arc::new(server);
        let connections = TaskTracker::new();
        while let Some(stream) = self.accept(&stop.drain).await {
            if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
                connections.spawn(Arc::clone(&server).connection(stream, permit));
            } else {
                server.metrics.refuse_connection();
                connections.spawn(refuse(stream, self.protocol));
            }
        }
        drop(self.socket);
        connections.close();
        connections.wait().await;
    }

    /// The next connection; `None` once draining.
    async fn accept(&self, drain: &CancellationToken) -> Option<Connection> {
        loop {
            let accepted = tokio::select! {
                biased;
                () = drain.cancelled() => return None,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok(stream) => return Some(stream),
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

struct Server {
    http: auto::Builder<TokioExecutor>,
    service: TowerToHyperService<Router>,
    silence: Duration,
    drain: CancellationToken,
    abort: CancellationToken,
    metrics: RequestMetrics,
}

impl Server {
    async fn connection(self: Arc<Self>, stream: Connection, permit: OwnedSemaphorePermit) {
        let _counted = self.metrics.connect();
        tokio::select! {
            biased;
            () = self.abort.cancelled() => {}
            () = self.serve(stream) => {}
        }
        drop(permit);
    }

    async fn serve(&self, mut stream: Connection) {
        if !self.speaks(&mut stream).await {
            return;
        }
        let connection = self
            .http
            .serve_connection(TokioIo::new(stream), self.service.clone());
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            biased;
            () = self.drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            ended = connection.as_mut() => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended early");
        }
    }

    /// Waits for the first byte: before it no protocol's own timeout runs, nor its draining.
    async fn speaks(&self, stream: &mut Connection) -> bool {
        let mut first = [0];
        tokio::select! {
            biased;
            () = self.drain.cancelled() => false,
            peeked = timeout(self.silence, stream.peek(&mut first)) => matches!(peeked, Ok(Ok(1..))),
        }
    }
}

fn http_builder(protocol: Protocol, limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout);
    let (stream_window, connection_window, ping_every, ping_within) = match protocol {
        Protocol::Http | Protocol::Grpc => (
            STREAM_WINDOW_BYTES,
            CONNECTION_WINDOW_BYTES,
            PING_EVERY,
            PING_WITHIN,
        ),
        // One stream takes it all.
        Protocol::Peer => (
            WINDOW_BYTES,
            WINDOW_BYTES,
            PEER_PING_EVERY,
            PEER_PING_WITHIN,
        ),
    };
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams_per_connection)
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(connection_window)
        .keep_alive_interval(ping_every)
        .keep_alive_timeout(ping_within);
    match protocol {
        Protocol::Http => builder,
        Protocol::Grpc | Protocol::Peer => builder.http2_only(),
    }
}

/// Tells an HTTP client why; whoever speaks HTTP/2 only sees the connection close.
async fn refuse(mut stream: Connection, protocol: Protocol) {
    const BODY: &str = concat!(
        r#"{"error":{"code":"overloaded","message":"too many connections; try again later","#,
        r#""retryable":true,"outcome":"rejected"}}"#,
    );
    /// A client that doesn't read its answer is not waited for.
    const WITHIN: Duration = Duration::from_secs(1);
    if protocol == Protocol::Http {
        let answer = format!(
            "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\n\
             retry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{BODY}",
            BODY.len(),
        );
        let _ = timeout(WITHIN, stream.write_all(answer.as_bytes())).await;
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests of real sockets")]
mod tests;
