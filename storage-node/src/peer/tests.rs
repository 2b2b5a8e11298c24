//! Nodes that talk over real connections on loopback.

use std::sync::Arc;
use std::time::Duration;

use annulus_proto::model::{ErrorCode, Outcome};
use annulus_proto::peer::v1::peer_client::PeerClient;
use annulus_proto::peer::v1::{
    Hello, KeyRef, ReadDigest, Request, RequestFrame, Write, reply, request,
};
use annulus_ring::{Placement, PlacementDocument, RingEpoch};
use futures::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Call, PeerCallError, PeerService, TonicTransport, Transport as _};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Limits;
use crate::coordinator::tests::{Ask, TestNode};
use crate::entropy::SystemRandomness;
use crate::net::Network;
use crate::placement::tests::document_of;
use crate::server::listener::{Listener, Protocol, Stop};
use crate::telemetry::Metrics;

/// A node that listens.
struct Server {
    node: TestNode,
    transport: TonicTransport,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Server {
    async fn start(document: &PlacementDocument, number: usize, listener: Listener) -> Self {
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let mut transport = None;
        let node = TestNode::start(document.nodes[number].id, |placement| {
            let (clock, randomness) = (Arc::new(SystemClock), Arc::new(SystemRandomness));
            let (tasks, shutdown) = (tasks.clone(), shutdown.clone());
            let started = TonicTransport::start(
                Network::System,
                placement,
                clock,
                randomness,
                tasks,
                shutdown,
            );
            transport = Some(started.clone());
            Arc::new(started)
        })
        .await;
        let placement = Placement::try_from(document.clone()).unwrap();
        node.placement.install(placement).await.unwrap();
        let service = PeerService::new(node.responder.clone(), tasks.clone(), shutdown.clone());
        let metrics = Metrics::complete(Metrics::registry(), "/".as_ref()).requests;
        let stop = Stop {
            drain: shutdown.clone(),
            ..Stop::default()
        };
        tasks.spawn(listener.serve(service.router(), Limits::default(), metrics, stop));
        Self {
            node,
            transport: transport.unwrap(),
            tasks,
            shutdown,
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn listen_on(address: &str) -> Listener {
    let address = address.parse().unwrap();
    let listener = Listener::bind(&Network::System, "peer", address, Protocol::Peer);
    listener.await.unwrap()
}

async fn listen(count: u16) -> (PlacementDocument, Vec<Listener>) {
    let mut document = document_of(count, 1);
    let mut listeners = Vec::new();
    for node in &mut document.nodes {
        let listener = listen_on("127.0.0.1:0").await;
        node.addresses.peer = listener.address().unwrap().to_string();
        listeners.push(listener);
    }
    (document, listeners)
}

async fn start(count: u16) -> (PlacementDocument, Vec<Server>) {
    let (document, listeners) = listen(count).await;
    let servers = listeners
        .into_iter()
        .enumerate()
        .map(|(number, listener)| Server::start(&document, number, listener));
    let servers = join_all(servers).await;
    (document, servers)
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let patience = SystemClock.now() + Duration::from_secs(20);
    while !holds().await {
        assert!(SystemClock.now() < patience, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn soon() -> Instant {
    SystemClock.now() + Duration::from_secs(2)
}

fn question() -> Call {
    Call {
        epoch: RingEpoch(1),
        session: None,
        body: request::Body::Digest(ReadDigest { key: None }),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_serves_every_key() {
    let (_, servers) = start(4).await;
    for (turn, server) in servers.iter().enumerate() {
        let ask = Ask::key(&format!("key-{turn}")).w("all").r("all");
        server.node.put(&ask, "value").await.unwrap();
        for reader in &servers {
            assert_eq!(reader.node.values(&ask).await, ["value"]);
        }
        assert!(server.node.delete(&ask).await.unwrap().existed);
    }
    eventually("all are connected", async || {
        servers.iter().all(|server| {
            server
                .transport
                .peers()
                .iter()
                .all(|(_, connected)| *connected)
        })
    })
    .await;
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_and_large_values_share_a_stream() {
    let (_, servers) = start(3).await;
    let large = "x".repeat(1 << 20);
    let writes = (0..600).map(|turn| {
        let (node, large) = (&servers[turn % 3].node, &large);
        async move {
            let ask = Ask::key(&format!("key-{turn}")).w("all").within_ms(30_000);
            let value = if turn % 60 == 0 {
                large.as_str()
            } else {
                "small"
            };
            node.put(&ask, value).await.unwrap();
            let read = servers_next(turn);
            (ask, value.len(), read)
        }
    });
    for (ask, size, reader) in join_all(writes).await {
        let values = servers[reader].node.values(&ask.r("all")).await;
        assert_eq!(values.iter().map(String::len).collect::<Vec<_>>(), [size]);
    }
}

fn servers_next(turn: usize) -> usize {
    (turn + 1) % 3
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_is_noticed_and_one_that_returns_is_found_again() {
    let (document, mut servers) = start(3).await;
    let all = Ask::key("k").w("all");
    servers[0].node.put(&all, "first").await.unwrap();
    servers.pop().unwrap().stop().await;
    eventually("writes to all are rejected", async || {
        let error = servers[0].node.put(&all, "second").await.unwrap_err();
        error.code == ErrorCode::QuorumUnavailable && error.outcome == Outcome::Rejected
    })
    .await;
    servers[0].node.put(&Ask::key("k"), "third").await.unwrap();
    let listener = listen_on(&document.nodes[2].addresses.peer).await;
    servers.push(Server::start(&document, 2, listener).await);
    eventually("writes to all succeed", async || {
        servers[0].node.put(&all, "fourth").await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_at_a_peers_address_is_never_asked() {
    let (mut document, listeners) = listen(3).await;
    let [second, third] = [1, 2].map(|node| document.nodes[node].addresses.peer.clone());
    (
        document.nodes[1].addresses.peer,
        document.nodes[2].addresses.peer,
    ) = (third, second);
    let mut servers = Vec::new();
    for (number, listener) in listeners.into_iter().enumerate() {
        servers.push(Server::start(&document, number, listener).await);
    }
    let node = document.nodes[1].id;
    let asked = servers[0].transport.call(node, question(), soon()).await;
    assert!(
        matches!(asked, Err(PeerCallError::NotSent { .. })),
        "{asked:?}"
    );
    let error = servers[0]
        .node
        .put(&Ask::key("k"), "value")
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.outcome),
        (ErrorCode::QuorumUnavailable, Outcome::Rejected)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_different_clusters_never_talk() {
    let (document, listeners) = listen(3).await;
    let mut foreign = document.clone();
    foreign.cluster_id = uuid::Uuid::from_u128(0xc2);
    let mut servers = Vec::new();
    for (number, listener) in listeners.into_iter().enumerate() {
        let document = if number == 0 { &foreign } else { &document };
        servers.push(Server::start(document, number, listener).await);
    }
    let error = servers[0]
        .node
        .put(&Ask::key("k"), "value")
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.outcome),
        (ErrorCode::QuorumUnavailable, Outcome::Rejected)
    );
    servers[1].node.put(&Ask::key("k"), "value").await.unwrap();
    assert_eq!(servers[1].transport.peers().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_accepts_and_says_nothing_is_unreachable_and_was_not_asked() {
    let (document, mut listeners) = listen(3).await;
    let silent = listeners.pop().unwrap(); // the system accepts; nobody answers
    let server = Server::start(&document, 0, listeners.remove(0)).await;
    let asked = server
        .transport
        .call(document.nodes[2].id, question(), soon())
        .await;
    assert!(
        matches!(asked, Err(PeerCallError::NotSent { .. })),
        "{asked:?}"
    );
    drop(silent);
}

/// A node that stood still reads late what its peers wrote long ago. They have gone on without it: the
/// write, stamped only now, would win over later ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_lay_around_past_its_deadline_is_not_carried_out() {
    let (document, servers) = start(3).await;
    let ask = Ask::key("k").lww();
    let address = format!("http://{}", document.nodes[0].addresses.peer);
    let mut client = PeerClient::connect(address).await.unwrap();
    let hello = Hello {
        cluster_id: document.cluster_id.to_string(),
        from: document.nodes[1].id.to_string(),
        to: document.nodes[0].id.to_string(),
    };
    let write = Request {
        session: String::new(),
        id: 1,
        epoch: 1,
        deadline_ms: 1_000,
        body: Some(request::Body::Write(Write {
            key: Some(KeyRef {
                keyspace: ask.keyspace.as_str().into(),
                key: ask.key.to_bytes(),
            }),
            value: Some("late".into()),
            write_quorum: 2,
            read_quorum: 2,
            request_client: 7,
            ..Write::default()
        })),
    };
    let greeting = RequestFrame {
        hello: Some(hello),
        written_ms: 5_000,
        ..RequestFrame::default()
    };
    // Written 2 s before the greeting, and read with it.
    let late = RequestFrame {
        requests: vec![write],
        written_ms: 3_000,
        ..RequestFrame::default()
    };
    let frames = futures::stream::iter([greeting, late]);
    let mut replies = client.exchange(frames).await.unwrap().into_inner();
    let mut answers = Vec::new();
    while let Some(frame) = replies.message().await.unwrap() {
        answers.extend(frame.replies);
    }
    let [reply::Body::Error(error)] = &answers
        .iter()
        .filter_map(|a| a.body.clone())
        .collect::<Vec<_>>()[..]
    else {
        panic!("{answers:?}");
    };
    assert_eq!(error.code, "timeout");
    for server in &servers {
        assert_eq!(server.node.copy(&ask).await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_a_node_that_left_the_ring_ends() {
    let (mut document, servers) = start(4).await;
    let leaver = document.nodes[3].id;
    // Without vnodes for it first, as every leaver.
    let three = document_of(3, 2);
    document.nodes.pop();
    document.epoch = RingEpoch(2);
    document.owners = three.owners;
    let smaller = Placement::try_from(document).unwrap();
    servers[0].node.placement.install(smaller).await.unwrap();
    eventually("it is no peer any more", async || {
        servers[0]
            .transport
            .peers()
            .iter()
            .all(|(peer, _)| *peer != leaver)
    })
    .await;
    let asked = servers[0].transport.call(leaver, question(), soon()).await;
    assert!(
        matches!(asked, Err(PeerCallError::NotSent { .. })),
        "{asked:?}"
    );
}
