//! `/v1/data/…`: one value per key, whoever wrote last.

use annulus_node::config::EngineKind;
use serde_json::{Value, json};

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writes_never_show_siblings() {
    let ring = Cluster::start(3, EngineKind::Rocksdb).await;
    for round in 0..10 {
        let write = async |node: usize| {
            let body = json!({"value": {"round": round, "node": node}}).to_string();
            ring.send(node, "PUT", "/v1/data/x", body).await
        };
        let (a, b, c) = tokio::join!(write(0), write(1), write(2));
        for written in [a, b, c] {
            assert_eq!(written.status, 200, "{written:?}");
            assert!(written.body["version"].is_u64(), "{written:?}");
        }
        let shown = ring.get(0, "/v1/data/x").await;
        assert_eq!(
            (shown.status, &shown.body["value"]["round"]),
            (200, &json!(round))
        );
        for node in 1..ring.len() {
            assert_eq!(ring.get(node, "/v1/data/x").await.body, shown.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_grow_with_every_write_through_any_node() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    let mut last = 0;
    for round in 0..30 {
        let body = json!({"value": round}).to_string();
        let written = ring.send(round % 3, "PUT", "/v1/data/x", body).await;
        let version = written.body["version"].as_u64().unwrap();
        assert!(version > last, "{version} after {last}");
        assert!(version < 1 << 53, "JSON numbers are exact up to 2^53");
        let read = ring.get((round + 1) % 3, "/v1/data/x").await;
        assert_eq!(read.body, json!({"value": round, "version": version}));
        last = version;
    }
    assert_eq!(ring.send(1, "DELETE", "/v1/data/x", "").await.status, 204);
    let body = json!({"value": "again"}).to_string();
    let written = ring.send(2, "PUT", "/v1/data/x", body).await;
    assert!(
        written.body["version"].as_u64().unwrap() > last,
        "{written:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn any_json_comes_back_and_deletes_are_quiet() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    for value in [
        Value::Null,
        json!(1.5),
        json!("ü\u{0}"),
        json!([1, {"a": []}]),
        json!(true),
    ] {
        let body = json!({"value": value}).to_string();
        assert_eq!(ring.send(0, "PUT", "/v1/data/x", body).await.status, 200);
        assert_eq!(ring.get(1, "/v1/data/x").await.body["value"], value);
    }
    for status in [200, 404] {
        assert_eq!(ring.get(2, "/v1/data/x").await.status, status);
        let deleted = ring.send(2, "DELETE", "/v1/data/x", "").await;
        assert_eq!((deleted.status, deleted.body), (204, Value::Null));
    }
    let gone = ring.get(0, "/v1/data/x").await;
    assert_eq!((gone.status, gone.code()), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keyspaces_keep_their_keys_and_their_rules() {
    let ring = Cluster::start_with(3, EngineKind::Memory, |config| {
        let rules = "{sessions: {conflict: lww}, carts: {}}";
        let yaml = format!("{{name: x, keyspaces: {rules}}}");
        config.keyspaces = annulus_node::config::Config::parse(&yaml)
            .unwrap()
            .keyspaces;
    })
    .await;
    let body = json!({"value": "s"}).to_string();
    let path = "/v1/keyspaces/sessions/data/x";
    assert_eq!(ring.send(0, "PUT", path, body.clone()).await.status, 200);
    assert_eq!(ring.get(1, path).await.body["value"], "s");
    assert_eq!(ring.get(1, "/v1/data/x").await.status, 404);
    assert_eq!(ring.get(1, "/v1/keyspaces/carts/kv/x").await.status, 404);
    let refused = ring
        .send(0, "PUT", "/v1/keyspaces/carts/data/x", body)
        .await;
    assert_eq!(
        (refused.status, refused.code()),
        (400, "invalid_argument"),
        "{refused:?}"
    );
    let as_kv = ring.get(2, "/v1/keyspaces/sessions/kv/x").await;
    assert_eq!(as_kv.values(), ["\"s\""]);
}
