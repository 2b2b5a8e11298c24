//! Messages into the coordinator's requests, for calls and batches alike.

use std::sync::Arc;

use annulus_causality::{RequestId, VersionVector};
use annulus_proto::kv::v1 as pb;
use annulus_proto::model::{
    Consistency, FieldRefused, Key, KeyspaceName, RequestError, TimeToLive,
};
use tokio::time::Instant;

use crate::coordinator::{Delete, Get, Put};
use crate::keyspace::Keyspace;
use crate::server::client_edge::{ClientEdge, check_value};

/// A request and the rules of its keyspace.
pub(super) struct Decoded<T> {
    pub(super) keyspace: Arc<Keyspace>,
    pub(super) key: Key,
    pub(super) request: T,
}

pub(super) fn get(
    edge: &ClientEdge,
    message: pb::GetRequest,
    deadline: Instant,
) -> Result<Decoded<Get>, RequestError> {
    let keyspace = edge.keyspace(&KeyspaceName::from_wire(&message.keyspace)?)?;
    let key = Key::new(message.key)?;
    let demanded = context(edge, &keyspace, &key, "min_context", &message.min_context)?;
    let request = Get {
        keyspace: keyspace.name.clone(),
        key: key.clone(),
        read: Consistency::from_wire("read_consistency", &message.read_consistency)?,
        min_context: Some(demanded).filter(|clock| !clock.is_empty()),
        deadline,
    };
    Ok(Decoded {
        keyspace,
        key,
        request,
    })
}

pub(super) fn put(
    edge: &ClientEdge,
    message: pb::PutRequest,
    deadline: Instant,
) -> Result<Decoded<Put>, RequestError> {
    let keyspace = edge.keyspace(&KeyspaceName::from_wire(&message.keyspace)?)?;
    let key = Key::new(message.key)?;
    check_value(&keyspace, message.value.len())?;
    let request = Put {
        keyspace: keyspace.name.clone(),
        context: context(edge, &keyspace, &key, "context", &message.context)?,
        key: key.clone(),
        value: message.value,
        ttl: message.ttl.map(TimeToLive::from_seconds).transpose()?,
        write: Consistency::from_wire("write_consistency", &message.write_consistency)?,
        request_id: request_id(message.request_id)?,
        sloppy: message.sloppy,
        deadline,
    };
    Ok(Decoded {
        keyspace,
        key,
        request,
    })
}

pub(super) fn delete(
    edge: &ClientEdge,
    message: pb::DeleteRequest,
    deadline: Instant,
) -> Result<Decoded<Delete>, RequestError> {
    let keyspace = edge.keyspace(&KeyspaceName::from_wire(&message.keyspace)?)?;
    let key = Key::new(message.key)?;
    let seen = context(edge, &keyspace, &key, "context", &message.context)?;
    let request = Delete {
        keyspace: keyspace.name.clone(),
        key: key.clone(),
        context: Some(seen).filter(|clock| !clock.is_empty()),
        read: Consistency::from_wire("read_consistency", &message.read_consistency)?,
        write: Consistency::from_wire("write_consistency", &message.write_consistency)?,
        request_id: request_id(message.request_id)?,
        sloppy: message.sloppy,
        deadline,
    };
    Ok(Decoded {
        keyspace,
        key,
        request,
    })
}

fn context(
    edge: &ClientEdge,
    keyspace: &Keyspace,
    key: &Key,
    field: &'static str,
    bytes: &[u8],
) -> Result<VersionVector, RequestError> {
    edge.contexts().verify_opaque(keyspace, key, field, bytes)
}

fn request_id(message: Option<pb::RequestId>) -> Result<Option<RequestId>, FieldRefused> {
    match message {
        Some(pb::RequestId { client: 0, .. }) => Err(FieldRefused::invalid(
            "request_id",
            "client must be a random number, not 0",
        )),
        Some(pb::RequestId { client, sequence }) => Ok(Some(RequestId { client, sequence })),
        None => Ok(None),
    }
}
