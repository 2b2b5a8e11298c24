//! What a node tells of itself, and the placements that it takes.

use std::net::SocketAddr;

use annulus_node::Node;
use annulus_node::config::EngineKind;
use annulus_proto::admin::v1 as pb;
use annulus_proto::kv::v1::GetRingRequest;
use annulus_proto::kv::v1::ring_client::RingClient;
use annulus_proto::ring::v1::Placement as WirePlacement;
use annulus_ring::{Placement, PlacementDocument, RingEpoch};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use uuid::Uuid;

use crate::cluster::{Cluster, config, founding, until};

async fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

async fn health(node: &Node, service: &str) -> ServingStatus {
    let mut client = HealthClient::new(connect(node.addresses().grpc).await);
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    client.check(request).await.unwrap().into_inner().status()
}

/// The founding placement of a node with something changed.
fn changed(node: &Node, change: impl FnOnce(&mut PlacementDocument)) -> WirePlacement {
    let mut document = PlacementDocument::from(&founding(std::slice::from_ref(node)));
    document.fingerprint = None;
    change(&mut document);
    (&Placement::try_from(document).unwrap()).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_placement_is_alive_and_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(dir.path(), "a", EngineKind::Memory))
        .await
        .unwrap();
    let addresses = node.addresses();
    let status = async |port, path: &str| {
        let answer = reqwest::get(format!("http://127.0.0.1:{port}{path}"))
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(status(addresses.admin.port(), "/livez").await.0, 200);
    assert_eq!(status(addresses.admin.port(), "/readyz").await.0, 503);
    assert_eq!(health(&node, "").await, ServingStatus::NotServing);
    let (code, body) = status(addresses.http.port(), "/kv/x").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &body["error"]["code"]), (503, &"unavailable".into()));
    assert_eq!(body["error"]["outcome"], "rejected");

    let mut ring = RingClient::connect(format!("http://{}", addresses.grpc))
        .await
        .unwrap();
    let unknown = ring.get_ring(GetRingRequest::default()).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unavailable);
    let client = pb::admin_client::AdminClient::connect(format!("http://{}", addresses.admin));
    let mut admin = client.await.unwrap();
    let none = admin
        .get_placement(pb::GetPlacementRequest {})
        .await
        .unwrap_err();
    assert_eq!(none.code(), Code::NotFound);

    let placement = Some(changed(&node, |_| ()));
    let request = pb::InstallPlacementRequest {
        placement: placement.clone(),
    };
    assert_eq!(
        admin
            .install_placement(request)
            .await
            .unwrap()
            .into_inner()
            .epoch,
        1
    );
    until(async || status(addresses.admin.port(), "/readyz").await.0 == 200).await;
    for service in ["", "annulus.kv.v1.KeyValue", "annulus.kv.v1.Ring"] {
        assert_eq!(
            health(&node, service).await,
            ServingStatus::Serving,
            "{service}"
        );
    }
    let held = ring
        .get_ring(GetRingRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((held.epoch, held.placement), (1, placement));
    let held = ring
        .get_ring(GetRingRequest { known_epoch: 1 })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((held.epoch, held.placement), (1, None));
    node.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn placements_of_the_past_or_of_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(dir.path(), "a", EngineKind::Memory))
        .await
        .unwrap();
    let client = format!("http://{}", node.addresses().admin);
    let mut admin = pb::admin_client::AdminClient::connect(client)
        .await
        .unwrap();
    let held = changed(&node, |document| document.epoch = RingEpoch(2));
    let again = held.clone();
    let mut damaged = changed(&node, |document| document.epoch = RingEpoch(3));
    damaged.fingerprint ^= 1;
    let older = changed(&node, |_| ());
    let other_content = changed(&node, |document| {
        document.epoch = RingEpoch(2);
        document.nodes[0].name = "b".to_owned();
    });
    let other_cluster = changed(&node, |document| {
        document.epoch = RingEpoch(3);
        document.cluster_id = Uuid::from_u128(1);
    });
    for (name, placement, code) in [
        ("first", Some(held), Code::Ok),
        ("again", Some(again), Code::Ok),
        ("older", Some(older), Code::FailedPrecondition),
        (
            "same epoch, other content",
            Some(other_content),
            Code::FailedPrecondition,
        ),
        ("other cluster", Some(other_cluster), Code::InvalidArgument),
        ("damaged", Some(damaged), Code::InvalidArgument),
        ("none", None, Code::InvalidArgument),
    ] {
        let answer = admin
            .install_placement(pb::InstallPlacementRequest { placement })
            .await;
        let got = answer
            .as_ref()
            .map_or_else(tonic::Status::code, |_| Code::Ok);
        assert_eq!(got, code, "{name}: {answer:?}");
        let status = admin
            .get_status(pb::GetStatusRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(status.epoch, 2, "{name}");
    }
    node.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn status_vnodes_digests_and_metrics_tell_what_there_is() {
    let ring = Cluster::start(3, EngineKind::Rocksdb).await;
    for key in 0..50 {
        let path = format!("/kv/{key}?w=all");
        assert_eq!(
            ring.put_kv(key % 3, &path, "v", &serde_json::Value::Null)
                .await
                .status,
            201
        );
    }
    let mut all = Vec::new();
    for node in 0..ring.len() {
        let mut admin = ring.admin(node).await;
        let status = admin
            .get_status(pb::GetStatusRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(status.phase(), pb::NodePhase::Serving);
        assert_eq!((status.vnodes, status.generation, status.epoch), (16, 1, 1));
        assert_eq!(status.peers.len(), 2);
        assert!(status.disk_total_bytes > status.disk_free_bytes);
        let vnodes = admin
            .list_vnodes(pb::ListVnodesRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(vnodes.vnodes.len(), 16);
        let mut digests = Vec::new();
        for partition in 0..16 {
            let request = pb::ListDigestsRequest { partition };
            let mut pages = admin.list_digests(request).await.unwrap().into_inner();
            while let Some(page) = pages.message().await.unwrap() {
                digests.extend(page.digests);
            }
        }
        all.push(digests);
        let url = format!("http://{}", ring.addresses(node).admin);
        let json: serde_json::Value = ring
            .http
            .get(format!("{url}/v1/status"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(
            (&json["name"], &json["phase"]),
            (&format!("node-{node}").into(), &"serving".into())
        );
        let answer = ring
            .http
            .get(format!("{url}/metrics"))
            .send()
            .await
            .unwrap();
        let media = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(media.starts_with("application/openmetrics-text"), "{media}");
        let metrics = answer.text().await.unwrap();
        for name in [
            "annulus_node_ring_epoch 1",
            "annulus_node_request_duration_seconds_count{operation=\"put\",keyspace=\"kv\",consistency=\"all\"",
            "annulus_node_replica_operations_total{",
            "annulus_node_log_sync_seconds_count",
            "annulus_node_disk_free_bytes",
        ] {
            assert!(metrics.contains(name), "{name}\n{metrics}");
        }
    }
    assert_eq!(all[0].len(), 50);
    assert_eq!(all[0], all[1]);
    assert_eq!(all[1], all[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_the_services_in_both_versions() {
    use tonic_reflection::pb::{v1, v1alpha};
    let ring = Cluster::start(1, EngineKind::Memory).await;
    let request = v1::ServerReflectionRequest {
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
        ..Default::default()
    };
    let channel = connect(ring.addresses(0).grpc).await;
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let answers = client
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap();
    let answer = format!(
        "{:?}",
        answers.into_inner().message().await.unwrap().unwrap()
    );
    assert!(answer.contains("annulus.kv.v1.KeyValue") && answer.contains("grpc.health.v1.Health"));
    let request = v1alpha::ServerReflectionRequest {
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
        ..Default::default()
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let answers = client
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap();
    let answer = format!(
        "{:?}",
        answers.into_inner().message().await.unwrap().unwrap()
    );
    assert!(answer.contains("annulus.kv.v1.KeyValue"), "{answer}");
}
