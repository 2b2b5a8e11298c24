//! Requests over gRPC.

use std::error::Error;
use std::time::Duration;

use annulus_causality::{Context, VersionVector};
use annulus_checker::{Deleted, Found, Outcome, Policy, RequestName, Shown, Written, minted_dot};
use annulus_proto::kv::v1::key_value_client::KeyValueClient;
use annulus_proto::kv::v1::{
    DeleteRequest, DeleteResponse, GetRequest, GetResponse, PutRequest, PutResponse, RequestId,
};
use annulus_proto::model::{ErrorCode, Outcome as Failed};
use annulus_proto::read_status;
use anyhow::Result;
use bytes::Bytes;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{ConnectError, Request, Status};

use super::Answer;
use super::ask::{Ask, What};
use crate::values;

/// All siblings of a key at their limit, with room.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// A node that is late has so much time to say so.
const PATIENCE: Duration = Duration::from_millis(300);

/// A client of one node.
#[derive(Debug, Clone)]
pub(crate) struct GrpcClient(KeyValueClient<Channel>);

impl GrpcClient {
    /// Connects with the first request.
    pub(crate) fn new(address: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(Duration::from_millis(500))
            .tcp_nodelay(true);
        let client = KeyValueClient::new(endpoint.connect_lazy());
        Ok(Self(client.max_decoding_message_size(MAX_ANSWER_BYTES)))
    }

    /// Asks, and takes the answer.
    pub(crate) async fn ask(&self, ask: &Ask) -> Answer {
        let asked = self.send(ask);
        match timeout(ask.timeout + PATIENCE, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) => failed(ask, &status),
            Err(_) => Answer::UNKNOWN,
        }
    }

    async fn send(&self, ask: &Ask) -> Result<Answer, Status> {
        let mut client = self.0.clone();
        let (keyspace, key) = (ask.key.keyspace.clone(), Bytes::from(ask.key.key.clone()));
        let context: Bytes = ask
            .context
            .as_ref()
            .map_or_else(Vec::new, Context::encode)
            .into();
        let request_id = ask
            .request
            .map(|RequestName { client, sequence }| RequestId { client, sequence });
        let [read_consistency, write_consistency] =
            [ask.read, ask.write].map(|level| level.text().to_owned());
        match &ask.what {
            What::Get => {
                let get = GetRequest {
                    keyspace,
                    key,
                    read_consistency,
                    min_context: context,
                };
                let found = client.get(timed(get, ask)).await?;
                Ok(shown(ask, found.into_inner()))
            }
            What::Put { name, filling } => {
                let put = PutRequest {
                    keyspace,
                    key,
                    value: values::value(name, *filling).into(),
                    context,
                    ttl: ask.ttl,
                    write_consistency,
                    request_id,
                    sloppy: false,
                };
                let written = client.put(timed(put, ask)).await?;
                Ok(put_done(ask, &written.into_inner()))
            }
            What::Delete => {
                let delete = DeleteRequest {
                    keyspace,
                    key,
                    context,
                    read_consistency,
                    write_consistency,
                    request_id,
                    sloppy: false,
                };
                let deleted = client.delete(timed(delete, ask)).await?;
                Ok(delete_done(ask, &deleted.into_inner()))
            }
        }
    }
}

fn timed<T>(message: T, ask: &Ask) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ask.timeout);
    request
}

fn shown(ask: &Ask, answer: GetResponse) -> Answer {
    let values = answer.values.into_iter().map(|sibling| Shown {
        value: values::name(&sibling.value),
        dot: Context::decode(&sibling.context)
            .ok()
            .and_then(|own| minted_dot(None, own.clock())),
    });
    let values = values.collect();
    let context = Context::decode(&answer.context).ok();
    let is_lww = ask.policy() == Policy::Lww;
    found(values, context, is_lww.then_some(answer.version))
}

/// The answer to a read.
pub(super) fn found(values: Vec<Shown>, context: Option<Context>, version: Option<u64>) -> Answer {
    Answer {
        outcome: Outcome::Found(Found {
            values,
            context: context.as_ref().map(|context| context.clock().clone()),
            version,
        }),
        context,
    }
}

fn put_done(ask: &Ask, answer: &PutResponse) -> Answer {
    let is_lww = ask.policy() == Policy::Lww;
    let context = Context::decode(&answer.context).ok();
    written(ask, context, is_lww.then_some(answer.version))
}

/// The answer to a put.
pub(super) fn written(ask: &Ask, context: Option<Context>, version: Option<u64>) -> Answer {
    let clock = context.as_ref().map(|context| context.clock().clone());
    Answer {
        outcome: Outcome::Written(Written {
            dot: clock
                .as_ref()
                .and_then(|clock| minted_dot(ask.clock(), clock)),
            context: clock,
            version,
        }),
        context,
    }
}

fn delete_done(ask: &Ask, answer: &DeleteResponse) -> Answer {
    deleted(
        ask,
        Context::decode(&answer.context).ok(),
        Some(answer.deleted),
    )
}

/// The answer to a delete.
pub(super) fn deleted(ask: &Ask, context: Option<Context>, existed: Option<bool>) -> Answer {
    let clock: Option<VersionVector> = context.as_ref().map(|context| context.clock().clone());
    // Without a context the answer also covers what the delete's own read saw.
    let dot = ask
        .clock()
        .and_then(|sent| minted_dot(Some(sent), clock.as_ref()?))
        .filter(|_| existed != Some(false));
    Answer {
        outcome: Outcome::Deleted(Deleted {
            existed,
            context: clock,
            dot,
        }),
        context,
    }
}

fn failed(ask: &Ask, status: &Status) -> Answer {
    if let Some(source) = status.source() {
        return if is_caused_by::<ConnectError>(source) {
            Answer::REJECTED // never sent
        } else {
            Answer::UNKNOWN
        };
    }
    let error = read_status(status);
    if error.code == ErrorCode::NotFound && ask.what == What::Get {
        let context = error.context.and_then(|bytes| Context::decode(&bytes).ok());
        return found(Vec::new(), context, None);
    }
    match error.outcome {
        Failed::Rejected => Answer::REJECTED,
        Failed::Unknown => Answer::UNKNOWN,
    }
}

fn is_caused_by<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<E>() {
            return true;
        }
        next = error.source();
    }
    false
}
