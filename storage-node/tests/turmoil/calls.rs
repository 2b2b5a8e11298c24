//! A client's gRPC: requests into messages, and what comes back into answers.

use std::time::Duration;

use annulus_causality::{Context, ContextKey, VersionVector};
use annulus_node::simulation::Done;
use annulus_proto::kv::v1 as pb;
use annulus_proto::kv::v1::key_value_client::KeyValueClient;
use annulus_proto::model::{Consistency, ErrorCode};
use annulus_proto::read_status;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tower::service_fn;
use turmoil::net::TcpStream;

use crate::asking::What;
use crate::machine::CONTEXT_KEY;
use crate::recording::{Answer, Asked, Sight};

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Connects to a port of a node.
pub(crate) async fn connect(node: &str, port: u16) -> Result<Channel, Status> {
    let failed = |error: tonic::transport::Error| Status::unavailable(error.to_string());
    let address = format!("{node}:{port}");
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(failed)?
        .connect_timeout(CONNECT_TIMEOUT)
        // h2 keeps what it has reset for a second of the real clock, which no seed decides.
        .http2_max_concurrent_reset_streams(0);
    let connector = service_fn(move |_| {
        let address = address.clone();
        async move { TcpStream::connect(address).await.map(TokioIo::new) }
    });
    endpoint
        .connect_with_connector(connector)
        .await
        .map_err(failed)
}

/// Asks over a connection that stands.
pub(crate) async fn ask(channel: Channel, asked: &Asked) -> Result<Answer, Status> {
    let mut node = KeyValueClient::new(channel);
    match &asked.what {
        What::Get => match node.get(get(asked)).await {
            Ok(found) => Ok(Answer::Found(sight(asked, found.into_inner())?)),
            Err(status) => nothing(asked, status),
        },
        What::Put(value, ttl) => {
            let ttl = ttl.map(|ttl| i64::try_from(ttl.seconds()).expect("half a minute"));
            let written = node.put(put(asked, value, ttl)).await?.into_inner();
            Ok(Answer::Done(Done {
                clock: open(asked, &written.context)?,
                version: written.version,
                existed: true,
                sloppy: written.sloppy,
            }))
        }
        What::Delete => {
            let deleted = node.delete(delete(asked)).await?.into_inner();
            Ok(Answer::Done(Done {
                clock: open(asked, &deleted.context)?,
                version: 0,
                existed: deleted.deleted,
                sloppy: deleted.sloppy,
            }))
        }
    }
}

fn get(asked: &Asked) -> Request<pb::GetRequest> {
    timed(
        asked,
        pb::GetRequest {
            keyspace: asked.keyspace.as_str().to_owned(),
            key: asked.key.to_bytes(),
            read_consistency: level(asked.terms.read),
            min_context: seal(asked),
        },
    )
}

fn put(asked: &Asked, value: &str, ttl: Option<i64>) -> Request<pb::PutRequest> {
    timed(
        asked,
        pb::PutRequest {
            keyspace: asked.keyspace.as_str().to_owned(),
            key: asked.key.to_bytes(),
            value: Bytes::from(value.to_owned()),
            context: seal(asked),
            ttl,
            write_consistency: level(asked.terms.write),
            request_id: request_id(asked),
            sloppy: false,
        },
    )
}

fn delete(asked: &Asked) -> Request<pb::DeleteRequest> {
    timed(
        asked,
        pb::DeleteRequest {
            keyspace: asked.keyspace.as_str().to_owned(),
            key: asked.key.to_bytes(),
            context: seal(asked),
            read_consistency: level(asked.terms.read),
            write_consistency: level(asked.terms.write),
            request_id: request_id(asked),
            sloppy: false,
        },
    )
}

fn timed<T>(asked: &Asked, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(asked.terms.timeout);
    request
}

fn level(level: Option<Consistency>) -> String {
    level.map_or_else(String::new, |level| level.label().to_owned())
}

fn request_id(asked: &Asked) -> Option<pb::RequestId> {
    let id = asked.terms.request_id?;
    Some(pb::RequestId {
        client: id.client,
        sequence: id.sequence,
    })
}

/// What the client has seen, as the node gave it out.
fn seal(asked: &Asked) -> Bytes {
    let secret = ContextKey::new(CONTEXT_KEY);
    let clock = asked.terms.context.clone();
    let (keyspace, key) = (asked.keyspace.as_str(), asked.key.as_bytes());
    Context::issue(&secret, keyspace, key, clock)
        .encode()
        .into()
}

fn open(asked: &Asked, context: &[u8]) -> Result<VersionVector, Status> {
    let secret = ContextKey::new(CONTEXT_KEY);
    let (keyspace, key) = (asked.keyspace.as_str(), asked.key.as_bytes());
    let clock = Context::decode(context).and_then(|context| context.verify(&secret, keyspace, key));
    clock.map_err(|error| Status::internal(error.to_string()))
}

fn sight(asked: &Asked, found: pb::GetResponse) -> Result<Sight, Status> {
    let mut values = Vec::new();
    for value in found.values {
        let clock = open(asked, &value.context)?;
        let event = clock.iter().next();
        let (actor, counter) = event.ok_or_else(|| Status::internal("a value without event"))?;
        values.push((value.value, actor.dot(counter)));
    }
    Ok(Sight {
        values,
        context: open(asked, &found.context)?,
        version: Some(found.version).filter(|version| *version > 0),
    })
}

/// There is no such key: a sight of nothing.
fn nothing(asked: &Asked, status: Status) -> Result<Answer, Status> {
    let error = read_status(&status);
    if error.code != ErrorCode::NotFound {
        return Err(status);
    }
    Ok(Answer::Found(Sight {
        values: Vec::new(),
        context: open(asked, &error.context.unwrap_or_default())?,
        version: None,
    }))
}
