use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Listener, Protocol, Stop};
use crate::config::Limits;
use crate::net::Network;
use crate::telemetry::Metrics;

const SOON: Duration = Duration::from_secs(10);

struct Served {
    address: std::net::SocketAddr,
    stop: Stop,
    ended: JoinHandle<()>,
}

async fn serve(limits: Limits) -> Served {
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(&Network::System, "test", address, Protocol::Http);
    let listener = listener.await.unwrap();
    let address = listener.address().unwrap();
    let metrics = Metrics::complete(Metrics::registry(), "/".as_ref()).requests;
    let stop = Stop::default();
    let router = Router::new().route("/", get(async || "here"));
    let ended = tokio::spawn(listener.serve(router, limits, metrics, stop.clone()));
    Served {
        address,
        stop,
        ended,
    }
}

async fn ask(stream: &mut TcpStream) {
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"here") {
        assert_ne!(
            stream.read_buf(&mut answer).await.unwrap(),
            0,
            "closed before the answer"
        );
    }
}

/// What comes until the other side closes. A reset is an end too: the kernel sends one where
/// bytes were left unread.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut bytes))
        .await
        .expect("it is closed");
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_and_the_others_live_on() {
    let served = serve(Limits {
        max_connections: 1,
        ..Limits::default()
    })
    .await;
    let mut first = TcpStream::connect(served.address).await.unwrap();
    ask(&mut first).await;
    let mut second = TcpStream::connect(served.address).await.unwrap();
    let refusal = rest(&mut second).await;
    assert!(refusal.starts_with("HTTP/1.1 429 "), "{refusal}");
    let (head, body) = refusal.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{refusal}"
    );
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["error"]["code"], "overloaded");
    ask(&mut first).await;
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let limits = Limits {
        header_read_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let served = serve(limits).await;
    for beginning in ["", "GET / HTT"] {
        let mut silent = TcpStream::connect(served.address).await.unwrap();
        silent.write_all(beginning.as_bytes()).await.unwrap();
        rest(&mut silent).await;
    }
}

#[tokio::test]
async fn draining_closes_idle_connections_and_the_socket() {
    let served = serve(Limits::default()).await;
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    ask(&mut idle).await;
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    ask(&mut idle).await;
    served.stop.drain.cancel();
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut silent).await, "");
    timeout(SOON, served.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test]
async fn aborting_cuts_connections_that_do_not_end() {
    let served = serve(Limits::default()).await;
    let mut stuck = TcpStream::connect(served.address).await.unwrap();
    ask(&mut stuck).await;
    stuck.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    served.stop.abort.cancel();
    rest(&mut stuck).await;
    served.stop.drain.cancel();
    timeout(SOON, served.ended).await.unwrap().unwrap();
}
