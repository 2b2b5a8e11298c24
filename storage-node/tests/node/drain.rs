//! A node that stops while it is asked: every answer that was given holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annulus_node::config::EngineKind;
use serde_json::json;

use crate::cluster::Cluster;

/// Writes one key after another through a node until it takes no more. The keys acknowledged.
async fn write_until_refused(
    http: reqwest::Client,
    base: String,
    writer: usize,
    under_way: Arc<AtomicBool>,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let key = format!("w{writer}-{number}");
        let body = json!({"value": key}).to_string();
        match http.put(format!("{base}/{key}")).body(body).send().await {
            Ok(answer) if answer.status() == 200 => acknowledged.push(key),
            // Too few others can be asked, or the connection is closed: it is stopping.
            _ => return acknowledged,
        }
        under_way.store(number > 20, Ordering::Relaxed);
    }
    unreachable!("the node stops")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_and_during_a_drain_is_on_the_other_nodes() {
    let mut ring = Cluster::start(3, EngineKind::Rocksdb).await;
    let base = format!("http://{}/v1/data", ring.addresses(0).http);
    let under_way = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (http, base, under_way) = (ring.http.clone(), base.clone(), under_way.clone());
            tokio::spawn(write_until_refused(http, base, writer, under_way))
        })
        .collect();
    crate::cluster::until(async || under_way.load(Ordering::Relaxed)).await;
    ring.stop(0).await;
    for writer in writers {
        for key in writer.await.unwrap() {
            let found = ring.get(1, &format!("/v1/data/{key}")).await;
            assert_eq!(
                (found.status, &found.body["value"]),
                (200, &json!(key)),
                "{found:?}"
            );
        }
    }
}
