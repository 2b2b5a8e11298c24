//! `/kv/…`: concurrent writes are kept until a client merges them.

use annulus_node::config::EngineKind;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cluster::Cluster;

async fn concurrent_blind_writes_are_kept_until_merged(engine: EngineKind) {
    let ring = Cluster::start(3, engine).await;
    let (one, two) = tokio::join!(
        ring.put_kv(0, "/kv/x", "one", &Value::Null),
        ring.put_kv(1, "/kv/x", "two", &Value::Null),
    );
    for written in [&one, &two] {
        assert_eq!(written.status, 201, "{written:?}");
        assert_eq!(written.body["key"], "x");
    }
    for node in 0..ring.len() {
        let found = ring.get(node, "/kv/x").await;
        assert_eq!(
            (found.status, found.values()),
            (200, vec!["one".into(), "two".into()])
        );
        for value in found.body["values"].as_array().unwrap() {
            assert!(value["context"]["vector_clock"].is_object(), "{value}");
        }
    }

    let context = ring.get(2, "/kv/x").await.context().clone();
    let merged = ring.put_kv(2, "/kv/x", "both", &context).await;
    assert_eq!(merged.status, 201, "{merged:?}");
    for node in 0..ring.len() {
        assert_eq!(ring.get(node, "/kv/x").await.values(), ["both"]);
    }

    let body = json!({"context": merged.context()}).to_string();
    let deleted = ring.send(1, "DELETE", "/kv/x", body.clone()).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    assert_eq!(
        (&deleted.body["key"], &deleted.body["deleted"]),
        (&json!("x"), &json!(true))
    );
    for node in 0..ring.len() {
        let gone = ring.get(node, "/kv/x").await;
        assert_eq!((gone.status, gone.code()), (404, "not_found"));
        assert_eq!(gone.body["key"], "x");
        assert!(gone.context()["vector_clock"].is_object(), "{gone:?}");
    }
    let again = ring.send(0, "DELETE", "/kv/x", "").await;
    assert_eq!(again.status, 404, "{again:?}");

    let context = ring.get(0, "/kv/x").await.context().clone();
    let reborn = ring.put_kv(0, "/kv/x", "new", &context).await;
    assert_eq!(reborn.status, 201, "{reborn:?}");
    assert_eq!(ring.get(1, "/kv/x").await.values(), ["new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_blind_writes_are_kept_until_merged_in_memory() {
    concurrent_blind_writes_are_kept_until_merged(EngineKind::Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_blind_writes_are_kept_until_merged_on_disk() {
    concurrent_blind_writes_are_kept_until_merged(EngineKind::Rocksdb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_takes_only_what_its_context_has_seen() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    let first = ring.put_kv(0, "/kv/x", "seen", &Value::Null).await;
    ring.put_kv(1, "/kv/x", "unseen", &Value::Null).await;
    let body = json!({"context": first.context()}).to_string();
    assert_eq!(ring.send(2, "DELETE", "/kv/x", body).await.status, 200);
    assert_eq!(ring.get(0, "/kv/x").await.values(), ["unseen"]);
    let all = ring.send(2, "DELETE", "/kv/x", "").await;
    assert_eq!(all.status, 200, "{all:?}");
    assert_eq!(ring.get(0, "/kv/x").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_context_of_one_value_replaces_that_value_alone() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    let writes = ["a", "b", "c"];
    for value in writes {
        let written = ring.put_kv(0, "/kv/x", value, &Value::Null).await;
        assert_eq!(written.status, 201, "{written:?}");
    }
    let found = ring.get(1, "/kv/x").await;
    assert_eq!(found.values(), writes);
    // Siblings are told in no particular order.
    let of_b = STANDARD.encode("b");
    let values = found.body["values"].as_array().unwrap();
    let b = values.iter().find(|value| value["value"] == of_b).unwrap();
    let written = ring.put_kv(0, "/kv/x", "d", &b["context"]).await;
    assert_eq!(ring.get(2, "/kv/x").await.values(), ["a", "c", "d"]);

    let written = ring.put_kv(0, "/kv/x", "e", written.context()).await;
    assert_eq!(written.status, 201, "{written:?}");
    assert_eq!(ring.get(1, "/kv/x").await.values(), ["a", "c", "e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_character_can_be_part_of_a_key() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    for (path, key) in [
        ("/kv/a%2Fb", "a/b"),
        ("/kv/%00", "\0"),
        ("/kv/%F0%9F%98%80%20%25", "😀 %"),
        ("/kv/.hidden", ".hidden"),
    ] {
        let written = ring.put_kv(0, path, key, &Value::Null).await;
        assert_eq!((written.status, &written.body["key"]), (201, &json!(key)));
        let found = ring.get(1, path).await;
        assert_eq!(
            (found.values(), &found.body["key"]),
            (vec![key.to_owned()], &json!(key))
        );
    }
    let longest = format!("/kv/{}", "%C3%BC".repeat(256));
    assert_eq!(
        ring.put_kv(0, &longest, "v", &Value::Null).await.status,
        201
    );
    assert_eq!(ring.get(2, &longest).await.values(), ["v"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_ends_with_its_time() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    let body = json!({"value": "eA==", "ttl": 1}).to_string();
    assert_eq!(ring.send(0, "PUT", "/kv/x", body).await.status, 201);
    assert_eq!(ring.get(1, "/kv/x").await.values(), ["x"]);
    crate::cluster::until(async || ring.get(2, "/kv/x").await.status == 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_sees_what_its_context_has_seen_at_any_level() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    for round in 0..20 {
        let value = format!("v{round}");
        let key = format!("/kv/k{round}");
        let written = ring
            .put_kv(round % 3, &format!("{key}?w=one"), &value, &Value::Null)
            .await;
        assert_eq!(written.status, 201, "{written:?}");
        let context = written.context().to_string();
        let context =
            percent_encoding::utf8_percent_encode(&context, percent_encoding::NON_ALPHANUMERIC);
        let read = ring
            .get(
                (round + 1) % 3,
                &format!("{key}?r=one&min_context={context}"),
            )
            .await;
        assert_eq!((read.status, read.values()), (200, vec![value]), "{read:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blind_writes_end_at_the_sibling_limit_until_somebody_merges() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    for number in 0..64 {
        let written = ring
            .put_kv(0, "/kv/x", &format!("v{number}"), &Value::Null)
            .await;
        assert_eq!(written.status, 201, "{written:?}");
    }
    let refused = ring.put_kv(1, "/kv/x", "one more", &Value::Null).await;
    assert_eq!(
        (refused.status, refused.code()),
        (409, "conflict"),
        "{refused:?}"
    );
    assert_eq!(refused.body["error"]["outcome"], "rejected");
    let found = ring.get(2, "/kv/x").await;
    assert_eq!(found.values().len(), 64);
    let merged = ring.put_kv(1, "/kv/x", "merged", found.context()).await;
    assert_eq!(merged.status, 201, "{merged:?}");
    assert_eq!(ring.get(0, "/kv/x").await.values(), ["merged"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_answers_as_get_does_without_a_body() {
    let ring = Cluster::start(1, EngineKind::Memory).await;
    assert_eq!(ring.send(0, "HEAD", "/kv/x", "").await.status, 404);
    ring.put_kv(0, "/kv/x", "v", &Value::Null).await;
    let found = ring.send(0, "HEAD", "/kv/x", "").await;
    assert_eq!((found.status, found.body), (200, Value::Null));
}
