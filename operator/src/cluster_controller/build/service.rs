//! The two Services: `<cluster>` for clients, `<cluster>-peers` for the nodes' names.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster_controller::build::cluster_meta;
use crate::cluster_controller::validate::ValidCluster;
use crate::names;

/// For clients: any node that serves is the right one.
pub(super) fn clients(cluster: &ValidCluster) -> Service {
    Service {
        metadata: cluster_meta(cluster, cluster.name.clone()),
        spec: Some(ServiceSpec {
            selector: Some(names::pod_selector(&cluster.name)),
            ports: Some(vec![
                port("grpc", names::GRPC_PORT, Some("kubernetes.io/h2c")),
                port("http", names::HTTP_PORT, Some("http")),
            ]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Between nodes: a stable DNS name for each pod, known before the pod is ready, for nodes
/// must find each other to become ready.
pub(super) fn peers(cluster: &ValidCluster) -> Service {
    Service {
        metadata: cluster_meta(cluster, names::peers_service(&cluster.name)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::pod_selector(&cluster.name)),
            ports: Some(vec![
                port("grpc", names::GRPC_PORT, Some("kubernetes.io/h2c")),
                port("http", names::HTTP_PORT, Some("http")),
                port("peer", names::PEER_PORT, None),
                port("admin", names::ADMIN_PORT, None),
            ]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn port(name: &str, number: i32, app_protocol: Option<&str>) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        app_protocol: app_protocol.map(str::to_owned),
        ..ServicePort::default()
    }
}
