//! Client gRPC: `KeyValue`, `Ring`, health checking, reflection.
//!
//! Owns: the conversion of messages into the coordinator's requests, and of results and errors
//! into messages and statuses.
//!
//! tonic's own server is not used: it would cut a call at its deadline without our error details.
//! The services are routed by axum and served by `listener`, as all ports are.

mod batch;
mod decode;
mod key_value;
mod ring;
mod timeout;

use annulus_proto::kv::v1::key_value_server::KeyValueServer;
use annulus_proto::kv::v1::ring_server::RingServer;
use axum::Router;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;

use self::key_value::KeyValueService;
use self::ring::RingService;
use super::client_edge::ClientEdge;
use crate::coordinator::Coordinator;

/// Room in a message beside the value: the other fields.
const BESIDE_VALUE_BYTES: usize = 256 << 10;

/// The services whose health is reported, beside that of the whole server.
pub(crate) const SERVICES: [&str; 2] = ["annulus.kv.v1.KeyValue", "annulus.kv.v1.Ring"];

/// Everything that is served to clients over gRPC.
///
/// `max_value_bytes`: the largest value of any keyspace. Values up to twice that are read, and
/// refused with our own details; what is larger yet, tonic refuses (`OUT_OF_RANGE`).
pub(crate) fn router(
    edge: ClientEdge,
    coordinator: Coordinator,
    health: HealthService,
    max_value_bytes: usize,
    drain: CancellationToken,
) -> Router {
    let key_value = KeyValueServer::new(KeyValueService::new(edge, drain))
        .max_decoding_message_size(2 * max_value_bytes + BESIDE_VALUE_BYTES)
        .max_encoding_message_size(usize::MAX);
    let (reflection, reflection_alpha) = reflection();
    Routes::new(key_value)
        .add_service(RingServer::new(RingService::new(coordinator)))
        .add_service(HealthServer::new(health))
        .add_service(reflection)
        .add_service(reflection_alpha)
        .into_axum_router()
}

/// Both versions: older tools know only `v1alpha`.
fn reflection() -> (
    tonic_reflection::server::v1::ServerReflectionServer<
        impl tonic_reflection::server::v1::ServerReflection,
    >,
    tonic_reflection::server::v1alpha::ServerReflectionServer<
        impl tonic_reflection::server::v1alpha::ServerReflection,
    >,
) {
    const VALID: &str = "the descriptors were built with the program";
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(annulus_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    (
        builder().build_v1().expect(VALID),
        builder().build_v1alpha().expect(VALID),
    )
}
