//! What a node holds of each key, asked as a peer asks: one owner's own state, without a quorum.

use std::collections::HashMap;
use std::time::Duration;

use annulus_causality::KeyState;
use annulus_checker::KeyName;
use annulus_proto::peer::v1::peer_client::PeerClient;
use annulus_proto::peer::v1::{Hello, KeyRef, Read, Request, RequestFrame, reply, request};
use annulus_ring::{NodeId, Placement};
use anyhow::{Context as _, Result, anyhow};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use uuid::Uuid;

/// Requests of one frame.
const FRAME_REQUESTS: usize = 64;

/// For all answers of one call.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// For each request.
const DEADLINE_MS: u32 = 10_000;

/// A copy: the state, nothing where the node has no record of the key, or why it does not say.
pub(crate) type Copy = Result<Option<KeyState>, String>;

/// What the node holds of these keys, in their order.
pub(crate) async fn read(
    placement: &Placement,
    node: NodeId,
    keys: &[KeyName],
) -> Result<Vec<Copy>> {
    let reads = keys.iter().map(|key| {
        request::Body::Read(Read {
            key: Some(key_ref(key)),
        })
    });
    let answers = exchange(placement, node, reads.collect()).await?;
    let copy = |answer| match answer {
        reply::Body::Read(read) => match read.state {
            None => Ok(None),
            Some(state) => KeyState::decode(&state)
                .map(Some)
                .map_err(|error| error.to_string()),
        },
        reply::Body::Error(error) => Err(format!("{}: {}", error.code, error.message)),
        other => Err(format!("not an answer to a read: {other:?}")),
    };
    Ok(answers.into_iter().map(copy).collect())
}

/// The partition of a key.
pub(crate) fn partition(placement: &Placement, key: &KeyName) -> u32 {
    let (partition, _) = placement.locate(&key.keyspace, key.key.as_bytes());
    partition.0.into()
}

/// The nodes that own a key.
pub(crate) fn owners(placement: &Placement, key: &KeyName) -> Vec<NodeId> {
    let (_, owners) = placement.locate(&key.keyspace, key.key.as_bytes());
    owners
        .iter()
        .map(|index| placement.node(*index).id)
        .collect()
}

fn key_ref(key: &KeyName) -> KeyRef {
    KeyRef {
        keyspace: key.keyspace.clone(),
        key: key.key.clone().into_bytes().into(),
    }
}

/// Asks all of it over one stream; the answers in the requests' order.
async fn exchange(
    placement: &Placement,
    node: NodeId,
    bodies: Vec<request::Body>,
) -> Result<Vec<reply::Body>> {
    let asked = exchange_at_leisure(placement, node, bodies);
    timeout(ANSWERS_WITHIN, asked)
        .await
        .context("no answers in time")?
}

async fn exchange_at_leisure(
    placement: &Placement,
    node: NodeId,
    bodies: Vec<request::Body>,
) -> Result<Vec<reply::Body>> {
    let place = placement
        .node_by_id(node)
        .context("no node of the placement")?;
    let channel = Endpoint::from_shared(format!("http://{}", place.addresses.peer))?
        .connect_timeout(Duration::from_secs(2))
        .connect()
        .await?;
    let (count, frames) = (bodies.len(), frames(placement, node, bodies));
    let (sender, receiver) = mpsc::channel(frames.len().max(1));
    for frame in frames {
        sender
            .try_send(frame)
            .map_err(|_| anyhow!("a channel of that size takes all frames"))?;
    }
    let mut client = PeerClient::new(channel).max_decoding_message_size(256 << 20);
    let mut answers = client
        .exchange(ReceiverStream::new(receiver))
        .await?
        .into_inner();
    let mut found = HashMap::new();
    while found.len() < count {
        let frame = answers.message().await?.context("the stream ends early")?;
        for reply in frame.replies {
            found.insert(reply.id, reply.body.context("an answer without a body")?);
        }
    }
    drop(sender);
    let in_order = (0..count as u64).map(|id| found.remove(&id).context("an answer is missing"));
    in_order.collect()
}

fn frames(placement: &Placement, node: NodeId, bodies: Vec<request::Body>) -> Vec<RequestFrame> {
    let hello = Hello {
        cluster_id: placement.cluster_id().to_string(),
        from: Uuid::nil().to_string(),
        to: node.to_string(),
    };
    let mut frames = vec![RequestFrame {
        hello: Some(hello),
        ..RequestFrame::default()
    }];
    let requests: Vec<Request> = (0..)
        .zip(bodies)
        .map(|(id, body)| Request {
            session: String::new(),
            id,
            epoch: placement.epoch().0,
            deadline_ms: DEADLINE_MS,
            body: Some(body),
        })
        .collect();
    frames.extend(
        requests
            .chunks(FRAME_REQUESTS)
            .map(|requests| RequestFrame {
                requests: requests.to_vec(),
                ..RequestFrame::default()
            }),
    );
    frames
}
