//! gRPC: single calls through every node, batches, retries.

use std::collections::BTreeMap;

use annulus_node::config::EngineKind;
use annulus_proto::kv::v1 as pb;
use annulus_proto::kv::v1::batch_request::Request;
use annulus_proto::kv::v1::batch_response::Response;
use annulus_proto::model::ErrorCode;
use annulus_proto::read_status;

use crate::cluster::Cluster;

fn put(key: &str, value: &str) -> pb::PutRequest {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    pb::PutRequest {
        key,
        value,
        ..Default::default()
    }
}

fn get(key: &str) -> pb::GetRequest {
    pb::GetRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

fn delete(key: &str) -> pb::DeleteRequest {
    pb::DeleteRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_serves_every_key() {
    let ring = Cluster::start(4, EngineKind::Rocksdb).await;
    for writer in 0..ring.len() {
        let key = format!("key-{writer}");
        let written = ring.grpc(writer).await.put(put(&key, "v")).await.unwrap();
        let coordinator = written.metadata().get("x-annulus-coordinator").unwrap();
        assert_eq!(coordinator.to_str().unwrap(), format!("node-{writer}"));
        assert_eq!(written.into_inner().version, 0, "siblings have no version");
        for reader in 0..ring.len() {
            let found = ring
                .grpc(reader)
                .await
                .get(get(&key))
                .await
                .unwrap()
                .into_inner();
            assert_eq!(found.values.len(), 1);
            assert_eq!(found.values[0].value, "v");
        }
        let deleter = (writer + 1) % ring.len();
        let deleted = ring.grpc(deleter).await.delete(delete(&key)).await.unwrap();
        assert!(deleted.into_inner().deleted);
        for reader in 0..ring.len() {
            let gone = read_status(&ring.grpc(reader).await.get(get(&key)).await.unwrap_err());
            assert_eq!(gone.code, ErrorCode::NotFound);
            assert!(gone.context.is_some(), "a deleted key has a context");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_write_through_another_node_makes_no_sibling() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    let request_id = Some(pb::RequestId {
        client: 7,
        sequence: 1,
    });
    for node in 0..ring.len() {
        let write = pb::PutRequest {
            request_id,
            ..put("x", "once")
        };
        ring.grpc(node).await.put(write).await.unwrap();
    }
    let found = ring.grpc(0).await.get(get("x")).await.unwrap().into_inner();
    assert_eq!(found.values.len(), 1, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_answers_each_request_by_its_id() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    let mut client = ring.grpc(1).await;
    let requests = |kind: fn(&str) -> Request| {
        let requests = (0..500).map(move |id| pb::BatchRequest {
            id,
            request: Some(kind(&format!("k{id}"))),
        });
        futures::stream::iter(requests)
    };
    let mut answered = async |kind| -> BTreeMap<u64, Response> {
        let mut answers = client.batch(requests(kind)).await.unwrap().into_inner();
        let mut found = BTreeMap::new();
        while let Some(answer) = answers.message().await.unwrap() {
            found.insert(answer.id, answer.response.unwrap());
        }
        found
    };
    let written = answered(|key| Request::Put(put(key, key))).await;
    assert_eq!(written.len(), 500);
    assert!(
        written
            .values()
            .all(|answer| matches!(answer, Response::Put(_))),
        "{written:?}"
    );
    let read = answered(|key| Request::Get(get(key))).await;
    for (id, answer) in read {
        let Response::Get(found) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(found.values[0].value, format!("k{id}"));
    }
    let deleted = answered(|key| Request::Delete(delete(key))).await;
    assert!(
        deleted
            .values()
            .all(|answer| matches!(answer, Response::Delete(_)))
    );
    let absent = answered(|key| Request::Get(get(key))).await;
    for answer in absent.into_values() {
        let Response::Error(error) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!((&*error.code, &*error.outcome), ("not_found", "rejected"));
        assert!(!error.context.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_of_a_batch_spoils_no_other() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    let requests = [
        None,
        Some(Request::Put(put("", "v"))),
        Some(Request::Put(put("k", "v"))),
    ];
    let requests = (0..)
        .zip(requests)
        .map(|(id, request)| pb::BatchRequest { id, request });
    let requests: Vec<_> = requests.collect();
    let mut client = ring.grpc(0).await;
    let answers = client.batch(futures::stream::iter(requests)).await.unwrap();
    let mut answers = answers.into_inner();
    let mut found = BTreeMap::new();
    while let Some(answer) = answers.message().await.unwrap() {
        found.insert(answer.id, answer.response.unwrap());
    }
    for id in [0, 1] {
        let Response::Error(error) = &found[&id] else {
            panic!("{found:?}")
        };
        assert_eq!(error.code, "invalid_argument");
    }
    assert!(matches!(found[&2], Response::Put(_)));
}
