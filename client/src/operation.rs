//! The requests, as far as their attempts have to know them.

use std::future::Future;

use annulus_proto::kv::v1::key_value_client::KeyValueClient;
use annulus_proto::kv::v1::ring_client::RingClient;
use annulus_proto::kv::v1::{
    DeleteRequest, DeleteResponse, GetRequest, GetResponse, GetRingRequest, GetRingResponse,
    PutRequest, PutResponse,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// The largest answer that is read: all siblings of a key at their limit (4 MiB), with room; or the
/// largest placement.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The largest request that is sent; the server's limit on values is lower.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// One kind of request. Cloned for every attempt: its fields are shared, not copied.
pub(crate) trait Operation: Clone + Send + Sync {
    /// What it brings back.
    type Answer: Send;
    /// Whether it changes anything.
    const IS_WRITE: bool;

    /// Sends it.
    fn send(
        channel: Channel,
        request: Request<Self>,
    ) -> impl Future<Output = Result<Response<Self::Answer>, Status>> + Send;
}

macro_rules! operation {
    ($request:ty => $answer:ty, $client:ident.$method:ident, writes: $is_write:literal) => {
        impl Operation for $request {
            type Answer = $answer;
            const IS_WRITE: bool = $is_write;

            async fn send(
                channel: Channel,
                request: Request<Self>,
            ) -> Result<Response<Self::Answer>, Status> {
                $client::new(channel)
                    .max_decoding_message_size(MAX_ANSWER_BYTES)
                    .max_encoding_message_size(MAX_REQUEST_BYTES)
                    .$method(request)
                    .await
            }
        }
    };
}

operation!(GetRequest => GetResponse, KeyValueClient.get, writes: false);
operation!(PutRequest => PutResponse, KeyValueClient.put, writes: true);
operation!(DeleteRequest => DeleteResponse, KeyValueClient.delete, writes: true);
operation!(GetRingRequest => GetRingResponse, RingClient.get_ring, writes: false);
