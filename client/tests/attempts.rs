//! What a request does when nodes fail, against nodes that answer as told.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use annulus_client::{
    Client, ClientError, ClientOptions, ErrorCode, GetOptions, Key, Outcome, PutOptions, Reading,
    RetryPolicy, Routing, UPDATE_MAX_ROUNDS, UpdateOptions,
};
use annulus_proto::kv::v1::key_value_server::{KeyValue, KeyValueServer};
use annulus_proto::kv::v1::{
    BatchRequest, BatchResponse, DeleteRequest, DeleteResponse, GetRequest, GetResponse,
    PutRequest, PutResponse, RequestId, Value,
};
use annulus_proto::model::RequestError;
use annulus_proto::write_status;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// What a node does with its next request.
enum Reply {
    Succeed,
    Fail(RequestError),
    KeepSilent,
}

/// A node that answers as told, and succeeds when it was told nothing.
#[derive(Clone, Default)]
struct Node {
    script: Arc<Mutex<VecDeque<Reply>>>,
    puts: Arc<Mutex<Vec<PutRequest>>>,
    gets: Arc<Mutex<Vec<GetRequest>>>,
}

struct Running {
    node: Node,
    address: String,
    server: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Node {
    async fn start(script: impl IntoIterator<Item = Reply>) -> Running {
        let node = Self {
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            ..Self::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service = KeyValueServer::new(node.clone());
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener));
        let server = tokio::spawn(serving).abort_handle();
        Running {
            node,
            address,
            server,
        }
    }

    async fn play(&self) -> Result<(), Status> {
        let next = self.script.lock().pop_front();
        match next {
            None | Some(Reply::Succeed) => Ok(()),
            Some(Reply::Fail(error)) => Err(write_status(&error)),
            Some(Reply::KeepSilent) => pending().await,
        }
    }

    fn request_ids(&self) -> Vec<RequestId> {
        self.puts
            .lock()
            .iter()
            .map(|put| put.request_id.unwrap())
            .collect()
    }
}

#[tonic::async_trait]
impl KeyValue for Node {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        self.gets.lock().push(request.into_inner());
        self.play().await?;
        let value = Value {
            value: "v".into(),
            context: "one".into(),
        };
        Ok(Response::new(GetResponse {
            values: vec![value],
            context: "seen".into(),
            version: 0,
        }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.puts.lock().push(request.into_inner());
        self.play().await?;
        Ok(Response::new(PutResponse {
            context: "written".into(),
            version: 0,
            sloppy: false,
        }))
    }

    async fn delete(&self, _: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        self.play().await?;
        Ok(Response::new(DeleteResponse {
            deleted: true,
            context: "deleted".into(),
            sloppy: false,
        }))
    }

    type BatchStream = BoxStream<'static, Result<BatchResponse, Status>>;

    async fn batch(
        &self,
        _: Request<Streaming<BatchRequest>>,
    ) -> Result<Response<Self::BatchStream>, Status> {
        Err(Status::unimplemented("these nodes have no batches"))
    }
}

async fn client(endpoints: &[&str]) -> Client {
    let options = ClientOptions {
        routing: Routing::Endpoint,
        timeout: Duration::from_secs(5),
        attempt_timeout: Duration::from_millis(300),
        retry: RetryPolicy {
            max_attempts: 4,
            ..RetryPolicy::default()
        },
        ..ClientOptions::default()
    };
    Client::connect(endpoints, options).await.unwrap()
}

fn key() -> Key {
    Key::new("k").unwrap()
}

async fn put(client: &Client) -> Result<(), ClientError> {
    client
        .put(&key(), "v", &PutOptions::default())
        .await
        .map(drop)
}

fn rejected(code: ErrorCode) -> Reply {
    Reply::Fail(RequestError::rejected(code, "as told"))
}

fn unknown(code: ErrorCode) -> Reply {
    Reply::Fail(RequestError::unknown(code, "as told"))
}

#[tokio::test]
async fn all_attempts_of_a_write_carry_one_id_and_each_write_its_own() {
    let script = [
        unknown(ErrorCode::Timeout),
        unknown(ErrorCode::QuorumUnavailable),
    ];
    let running = Node::start(script).await;
    let client = client(&[&running.address]).await;
    put(&client).await.unwrap();
    put(&client).await.unwrap();
    let ids = running.node.request_ids();
    assert_eq!(ids.len(), 4);
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "{ids:?}");
    assert_eq!(
        (ids[3].client, ids[3].sequence),
        (ids[0].client, ids[0].sequence + 1)
    );
    assert_ne!(ids[0].client, 0);
}

#[tokio::test]
async fn a_silent_node_is_left_for_another_and_then_avoided() {
    let silent = Node::start([Reply::KeepSilent]).await;
    let other = Node::start([]).await;
    let client = client(&[&silent.address, &other.address]).await;
    for _ in 0..6 {
        put(&client).await.unwrap();
    }
    assert_eq!(silent.node.puts.lock().len(), 1);
    assert_eq!(other.node.puts.lock().len(), 6);
    let (first, again) = (silent.node.request_ids()[0], other.node.request_ids());
    assert!(
        again.contains(&first),
        "the silent attempt is repeated under its id"
    );
}

#[tokio::test]
async fn a_node_that_is_gone_costs_one_connection_attempt() {
    let other = Node::start([]).await;
    let client = client(&["127.0.0.1:1", &other.address]).await;
    for _ in 0..4 {
        put(&client).await.unwrap();
    }
    assert_eq!(other.node.puts.lock().len(), 4);
}

#[tokio::test]
async fn an_attempt_that_may_have_happened_is_not_forgotten_when_a_later_one_is_rejected() {
    let script = [
        unknown(ErrorCode::Timeout),
        rejected(ErrorCode::InvalidArgument),
    ];
    let running = Node::start(script).await;
    let error = put(&client(&[&running.address]).await).await.unwrap_err();
    assert_eq!(
        (error.code, error.outcome),
        (ErrorCode::InvalidArgument, Outcome::Unknown)
    );
    assert_eq!(error.attempts, 2);
}

#[tokio::test]
async fn attempts_end_at_their_limit_with_the_last_error() {
    let running = Node::start((0..9).map(|_| rejected(ErrorCode::QuorumUnavailable))).await;
    let error = put(&client(&[&running.address]).await).await.unwrap_err();
    assert_eq!(
        (error.code, error.outcome),
        (ErrorCode::QuorumUnavailable, Outcome::Rejected)
    );
    assert!(error.retryable && error.reached);
    assert_eq!((error.attempts, running.node.puts.lock().len()), (4, 4));
}

#[tokio::test]
async fn nobody_there_is_told_as_unreached_and_rejected() {
    let error = put(&client(&["127.0.0.1:1"]).await).await.unwrap_err();
    assert_eq!((error.reached, error.outcome), (false, Outcome::Rejected));
    assert!(error.message.contains("127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn an_absent_key_is_no_error_and_brings_its_context() {
    let absent = RequestError {
        context: Some("tombstone".into()),
        ..RequestError::rejected(ErrorCode::NotFound, "no such key")
    };
    let running = Node::start([Reply::Fail(absent)]).await;
    let client = client(&[&running.address]).await;
    let reading: Reading = client.get(&key(), &GetOptions::default()).await.unwrap();
    assert!(reading.is_absent());
    assert_eq!(reading.context.unwrap().as_bytes(), b"tombstone");
}

#[tokio::test]
async fn a_session_gives_back_what_it_has_seen() {
    let running = Node::start([]).await;
    let session = client(&[&running.address]).await.session();
    session
        .put(&key(), "v", &PutOptions::default())
        .await
        .unwrap();
    session.get(&key(), &GetOptions::default()).await.unwrap();
    session
        .put(&key(), "w", &PutOptions::default())
        .await
        .unwrap();
    let contexts: Vec<_> = running
        .node
        .puts
        .lock()
        .iter()
        .map(|p| p.context.clone())
        .collect();
    assert_eq!(
        contexts,
        ["", "seen"],
        "the second write replaces what was read"
    );
    assert_eq!(
        running.node.gets.lock()[0].min_context,
        "written",
        "reads see the own write"
    );
}

#[tokio::test]
async fn an_update_reads_merges_and_writes_back_until_there_is_no_conflict() {
    let script = [Reply::Succeed, rejected(ErrorCode::Conflict)];
    let running = Node::start(script).await;
    let client = client(&[&running.address]).await;
    let mut rounds = 0;
    let merge = |siblings: &[annulus_client::Sibling]| {
        rounds += 1;
        [&siblings[0].value[..], b"+"].concat()
    };
    client
        .update(&key(), &UpdateOptions::default(), merge)
        .await
        .unwrap();
    assert_eq!(rounds, 2);
    let last = running.node.puts.lock().last().unwrap().clone();
    assert_eq!(
        (&last.value[..], &last.context[..]),
        (&b"v+"[..], &b"seen"[..])
    );
}

#[tokio::test]
async fn an_update_gives_up_after_its_rounds() {
    let conflicts =
        (0..UPDATE_MAX_ROUNDS + 5).flat_map(|_| [Reply::Succeed, rejected(ErrorCode::Conflict)]);
    let running = Node::start(conflicts).await;
    let client = client(&[&running.address]).await;
    let result = client
        .update(&key(), &UpdateOptions::default(), |_| "v")
        .await;
    assert_eq!(result.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(running.node.puts.lock().len(), UPDATE_MAX_ROUNDS as usize);
}
