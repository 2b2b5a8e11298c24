//! With nodes down: what still works, and what is said where it doesn't.

use std::time::Duration;

use annulus_node::config::EngineKind;
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_serves_without_one_node_and_all_says_that_it_can_not() {
    let mut ring = Cluster::start(3, EngineKind::Memory).await;
    assert_eq!(
        ring.put_kv(0, "/kv/x", "before", &json!(null)).await.status,
        201
    );
    ring.stop(2).await;
    let context = ring.get(0, "/kv/x").await.context().clone();
    assert_eq!(ring.put_kv(1, "/kv/x", "after", &context).await.status, 201);
    assert_eq!(ring.get(0, "/kv/x").await.values(), ["after"]);

    let begun = Instant::now();
    let refused = ring
        .put_kv(0, "/kv/y?w=all&timeout=1s", "v", &json!(null))
        .await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "an answer comes by the deadline"
    );
    assert!(matches!(refused.status, 503 | 504), "{refused:?}");
    assert!(
        ["quorum_unavailable", "timeout"].contains(&refused.code()),
        "{refused:?}"
    );
    assert_eq!(refused.body["error"]["retryable"], true);
    if refused.body["error"]["outcome"] == "rejected" {
        assert_eq!(
            ring.get(1, "/kv/y").await.status,
            404,
            "a rejected write is never seen"
        );
    }
    let read = ring.get(0, "/kv/x?r=all&timeout=1s").await;
    assert!(matches!(read.status, 503 | 504), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_only_one_is_served() {
    let mut ring = Cluster::start(3, EngineKind::Memory).await;
    assert_eq!(
        ring.put_kv(0, "/kv/x?w=all", "v", &json!(null))
            .await
            .status,
        201
    );
    ring.stop(1).await;
    ring.stop(2).await;
    let read = ring.get(0, "/kv/x?timeout=500ms").await;
    assert!(matches!(read.status, 503 | 504), "{read:?}");
    let written = ring
        .put_kv(0, "/kv/x?timeout=500ms", "w", &json!(null))
        .await;
    assert!(matches!(written.status, 503 | 504), "{written:?}");
    let read = ring.get(0, "/kv/x?r=one").await;
    assert_eq!(read.status, 200, "{read:?}");
    assert_eq!(
        ring.put_kv(0, "/kv/y?w=one", "v", &json!(null))
            .await
            .status,
        201
    );
}
