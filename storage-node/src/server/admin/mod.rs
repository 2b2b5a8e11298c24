//! The admin port: the operator's gRPC service, and `/metrics`, `/livez`, `/readyz`, `/v1/status`.
//!
//! Owns: what the node tells of itself, and taking a placement from outside.
//! Leaves to others: whether a placement is taken (`placement`), what the figures are (`replica`,
//! `telemetry`).

mod probes;
mod service;
mod status;

use annulus_proto::admin::v1::admin_server::AdminServer;
use axum::Router;
use tonic::service::Routes;

use self::service::AdminService;
pub(crate) use self::status::{Sources, StatusSource};
use crate::telemetry::Metrics;

/// A placement of a thousand nodes and sixteen thousand partitions stays far below this.
const MAX_PLACEMENT_BYTES: usize = 16 << 20;

/// Everything that is served on the admin port.
pub(crate) fn router(status: StatusSource, metrics: Metrics) -> Router {
    let service = AdminServer::new(AdminService::new(status.clone()))
        .max_decoding_message_size(MAX_PLACEMENT_BYTES)
        .max_encoding_message_size(MAX_PLACEMENT_BYTES);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(annulus_proto::DESCRIPTORS)
        .build_v1()
        .expect("the descriptors were built with the program");
    let grpc = Routes::new(service)
        .add_service(reflection)
        .into_axum_router();
    grpc.merge(probes::router(status, metrics))
}
