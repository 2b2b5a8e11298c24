//! Bounds: bodies that never end, too many requests, ten thousand connections.

use std::time::Duration;

use annulus_node::config::EngineKind;
use annulus_node::shutdown::raise_open_files;
use annulus_proto::kv::v1 as pb;
use annulus_proto::model::{ErrorCode, Outcome};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cluster::{Cluster, SOON};
use crate::process::Process;

/// Reads one HTTP answer that is the last of its connection or has a length.
async fn read_answer(stream: &mut TcpStream) -> (String, Value) {
    let mut answer = Vec::new();
    let reading = async {
        loop {
            assert_ne!(
                stream.read_buf(&mut answer).await.unwrap(),
                0,
                "closed without an answer"
            );
            let text = String::from_utf8_lossy(&answer).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            if let Ok(body) = serde_json::from_str(body) {
                return (head.to_owned(), body);
            }
        }
    };
    timeout(SOON, reading).await.expect("an answer comes")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_is_given_up() {
    let ring = Cluster::start_with(1, EngineKind::Memory, |config| {
        config.limits.body_read_timeout = Duration::from_millis(100);
    })
    .await;
    for head in ["content-length: 1000", "transfer-encoding: chunked"] {
        let mut stream = TcpStream::connect(ring.addresses(0).http).await.unwrap();
        let request = format!("PUT /kv/x HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let (status, body) = read_answer(&mut stream).await;
        assert!(status.starts_with("HTTP/1.1 504 "), "{status}");
        assert_eq!(
            (&body["error"]["code"], &body["error"]["outcome"]),
            (&json!("timeout"), &json!("rejected"))
        );
    }
    assert_eq!(ring.get(0, "/kv/x").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_too_many_is_told_to_come_back() {
    let ring = Cluster::start_with(1, EngineKind::Memory, |config| {
        config.limits.max_concurrent_requests = 1;
    })
    .await;
    let mut stuck = TcpStream::connect(ring.addresses(0).http).await.unwrap();
    let request =
        "PUT /kv/x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    stuck.write_all(request.as_bytes()).await.unwrap();
    // Asked to go on, it is being worked on.
    let mut go_on = [0; 12];
    stuck.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100");
    let refused = ring.get(0, "/kv/x").await;
    assert_eq!(
        (refused.status, refused.code()),
        (429, "overloaded"),
        "{refused:?}"
    );
    assert_eq!(refused.headers["retry-after"], "1");
    drop(stuck);
    crate::cluster::until(async || ring.get(0, "/kv/x").await.status == 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_do_not_stop_the_node() {
    const CONNECTIONS: usize = 10_000;
    let open_files = raise_open_files().unwrap();
    assert!(
        open_files > 11_000,
        "this test needs 11,000 files, the system allows {open_files}"
    );
    let limits = format!("limits: {{max_connections: {}}}", CONNECTIONS + 10);
    let mut node = Process::start(&limits).await;
    node.found().await;
    let address = node.addresses().http;
    let mut open = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        open.push(
            timeout(SOON, TcpStream::connect(address))
                .await
                .unwrap()
                .unwrap(),
        );
    }
    let url = format!("http://{address}/kv/x");
    let client = reqwest::Client::new();
    let written = client
        .put(&url)
        .body(json!({"value": "eA=="}).to_string())
        .send()
        .await;
    assert_eq!(written.unwrap().status(), 201);
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    for stream in open.iter_mut().step_by(100) {
        stream
            .write_all(b"GET /kv/x HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        assert!(read_answer(stream).await.0.starts_with("HTTP/1.1 200 "));
    }
    let mut refused = 0;
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answer = String::new();
        // Those that were let in stay silent: no answer tells so.
        let answered = timeout(
            Duration::from_millis(500),
            stream.read_to_string(&mut answer),
        )
        .await;
        refused += usize::from(answered.is_ok() && answer.starts_with("HTTP/1.1 429 "));
        open.push(stream);
    }
    assert!(refused >= 10, "{refused} refused");
    drop(open);
    let again = crate::cluster::until(async || {
        client
            .get(&url)
            .send()
            .await
            .is_ok_and(|a| a.status() == 200)
    });
    again.await;
    node.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_fill_the_memory_are_told_to_come_back() {
    const BODY: usize = 1 << 20;
    let ring = Cluster::start_with(1, EngineKind::Memory, |config| {
        config.limits.max_request_bytes = 64 << 20;
        config.limits.body_read_timeout = SOON;
    })
    .await;
    let head = format!(
        "PUT /kv/x HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        BODY + 1
    );
    let begun = [head.as_bytes(), &vec![b' '; BODY]].concat();
    // More than fit, and the last byte of each does not come.
    let mut stuck = Vec::new();
    for _ in 0..80 {
        let mut stream = TcpStream::connect(ring.addresses(0).http).await.unwrap();
        stream.write_all(&begun).await.unwrap();
        stuck.push(stream);
    }
    crate::cluster::until(async || {
        let refused = ring.send(0, "PUT", "/kv/x", vec![b' '; BODY]).await;
        refused.status == 429 && refused.body["error"]["outcome"] == "rejected"
    })
    .await;
    let mut grpc = ring.grpc(0).await;
    let put = pb::PutRequest {
        keyspace: "kv".to_owned(),
        key: "y".into(),
        value: vec![b'y'; BODY - 1000].into(),
        ..pb::PutRequest::default()
    };
    let refused = annulus_proto::read_status(&grpc.put(put.clone()).await.unwrap_err());
    assert_eq!(refused.code, ErrorCode::Overloaded, "{refused:?}");
    assert_eq!(refused.outcome, Outcome::Rejected);
    assert!(refused.retry_after.is_some());
    drop(stuck);
    crate::cluster::until(async || grpc.put(put.clone()).await.is_ok()).await;
    assert_eq!(ring.get(0, "/kv/x").await.status, 404);
}
