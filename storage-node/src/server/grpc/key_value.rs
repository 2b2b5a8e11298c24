//! The `KeyValue` service.

use std::time::Duration;

use annulus_proto::kv::v1 as pb;
use annulus_proto::kv::v1::key_value_server::KeyValue;
use annulus_proto::model::{FieldRefused, RequestError};
use annulus_proto::write_status;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::batch;
use super::decode::{self, Decoded};
use super::timeout::timeout;
use crate::server::client_edge::{ClientEdge, not_found};

/// Reads and writes by key. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct KeyValueService {
    edge: ClientEdge,
    drain: CancellationToken,
}

impl KeyValueService {
    pub(super) fn new(edge: ClientEdge, drain: CancellationToken) -> Self {
        Self { edge, drain }
    }
}

#[tonic::async_trait]
impl KeyValue for KeyValueService {
    async fn get(
        &self,
        call: Request<pb::GetRequest>,
    ) -> Result<Response<pb::GetResponse>, Status> {
        let timeout = timeout(call.metadata()).map_err(refused)?;
        let answer = get(&self.edge, call.into_inner(), timeout).await;
        answer
            .map(Response::new)
            .map_err(|error| write_status(&error))
    }

    async fn put(
        &self,
        call: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        let timeout = timeout(call.metadata()).map_err(refused)?;
        let answer = put(&self.edge, call.into_inner(), timeout).await;
        answer
            .map(Response::new)
            .map_err(|error| write_status(&error))
    }

    async fn delete(
        &self,
        call: Request<pb::DeleteRequest>,
    ) -> Result<Response<pb::DeleteResponse>, Status> {
        let timeout = timeout(call.metadata()).map_err(refused)?;
        let answer = delete(&self.edge, call.into_inner(), timeout).await;
        answer
            .map(Response::new)
            .map_err(|error| write_status(&error))
    }

    type BatchStream = BoxStream<'static, Result<pb::BatchResponse, Status>>;

    async fn batch(
        &self,
        call: Request<Streaming<pb::BatchRequest>>,
    ) -> Result<Response<Self::BatchStream>, Status> {
        // The deadline of the stream as a whole is its client's to keep; each request has its own.
        let answers = batch::answers(self.edge.clone(), call.into_inner(), self.drain.clone());
        Ok(Response::new(answers))
    }
}

fn refused(refused: FieldRefused) -> Status {
    write_status(&refused.into())
}

pub(super) async fn get(
    edge: &ClientEdge,
    message: pb::GetRequest,
    timeout: Option<Duration>,
) -> Result<pb::GetResponse, RequestError> {
    let admitted = edge.admit()?;
    let deadline = edge.deadline(&admitted, timeout);
    let Decoded {
        keyspace,
        key,
        request,
    } = decode::get(edge, message, deadline)?;
    let shown = edge.get(admitted, keyspace.clone(), request).await?;
    let seal = |clock| edge.contexts().opaque(&keyspace, &key, clock);
    if shown.siblings.is_empty() {
        return Err(not_found(seal(shown.clock)));
    }
    let values = shown.siblings.into_iter().map(|sibling| pb::Value {
        value: sibling.value,
        context: seal(sibling.clock),
    });
    let values = values.collect();
    Ok(pb::GetResponse {
        values,
        context: seal(shown.clock),
        version: shown.version,
    })
}

pub(super) async fn put(
    edge: &ClientEdge,
    message: pb::PutRequest,
    timeout: Option<Duration>,
) -> Result<pb::PutResponse, RequestError> {
    let admitted = edge.admit()?;
    let deadline = edge.deadline(&admitted, timeout);
    let Decoded {
        keyspace,
        key,
        request,
    } = decode::put(edge, message, deadline)?;
    let written = edge.put(admitted, keyspace.clone(), request).await?;
    let context = edge.contexts().opaque(&keyspace, &key, written.clock);
    Ok(pb::PutResponse {
        context,
        version: written.version,
        sloppy: written.sloppy,
    })
}

pub(super) async fn delete(
    edge: &ClientEdge,
    message: pb::DeleteRequest,
    timeout: Option<Duration>,
) -> Result<pb::DeleteResponse, RequestError> {
    let admitted = edge.admit()?;
    let deadline = edge.deadline(&admitted, timeout);
    let Decoded {
        keyspace,
        key,
        request,
    } = decode::delete(edge, message, deadline)?;
    let deleted = edge.delete(admitted, keyspace.clone(), request).await?;
    let context = edge.contexts().opaque(&keyspace, &key, deleted.clock);
    Ok(pb::DeleteResponse {
        deleted: deleted.existed,
        context,
        sloppy: deleted.sloppy,
    })
}
