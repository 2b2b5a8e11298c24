use super::cluster::{Ask, Cluster, Fault};

#[tokio::test]
async fn a_delete_without_context_removes_what_a_read_shows() {
    let cluster = Cluster::start(5).await;
    for (turn, node) in cluster.nodes.iter().enumerate() {
        let ask = Ask::key(&format!("key-{turn}"));
        cluster.nodes[0].put(&ask, "one").await.unwrap();
        cluster.nodes[1].put(&ask, "two").await.unwrap();
        assert!(node.delete(&ask).await.unwrap().existed);
        let found = node.get(&ask).await.unwrap();
        assert!(found.state.is_deleted(found.now_ms));
        assert!(
            !found.state.clock().is_empty(),
            "a deleted key keeps its context"
        );
        assert!(!node.delete(&ask).await.unwrap().existed);
    }
}

#[tokio::test]
async fn a_delete_of_an_absent_key_writes_nothing() {
    let cluster = Cluster::start(3).await;
    let ask = Ask::key("k");
    let deleted = cluster.nodes[0].delete(&ask).await.unwrap();
    assert!(!deleted.existed && deleted.clock.is_empty());
    assert_eq!(cluster.copies(&ask).await, [None, None, None]);
}

#[tokio::test]
async fn a_delete_with_context_leaves_what_the_client_has_not_seen() {
    let cluster = Cluster::start(3).await;
    let ask = Ask::key("k");
    let seen = cluster.nodes[0].put(&ask, "seen").await.unwrap().clock;
    cluster.nodes[1].put(&ask, "unseen").await.unwrap();
    let delete = ask.clone().context(&seen);
    assert!(cluster.nodes[2].delete(&delete).await.unwrap().existed);
    assert_eq!(cluster.nodes[0].values(&ask).await, ["unseen"]);
    assert!(
        !cluster.nodes[0].delete(&delete).await.unwrap().existed,
        "that is gone already"
    );
    assert_eq!(cluster.nodes[0].values(&ask).await, ["unseen"]);
}

#[tokio::test]
async fn a_retried_delete_says_again_that_there_was_something() {
    let cluster = Cluster::start(3).await;
    for (key, with_context) in [("a", false), ("b", true)] {
        let put = Ask::key(key);
        let written = cluster.nodes[0].put(&put, "value").await.unwrap();
        let mut delete = put.clone().id(7);
        if with_context {
            delete = delete.context(&written.clock);
        }
        for node in &cluster.nodes {
            assert!(node.delete(&delete).await.unwrap().existed);
        }
        assert!(cluster.nodes[1].values(&put).await.is_empty());
    }
}

#[tokio::test]
async fn an_owner_that_missed_the_write_deletes_it_all_the_same() {
    for lww in [false, true] {
        let cluster = Cluster::start(3).await;
        let ask = if lww {
            Ask::key("k").lww()
        } else {
            Ask::key("k")
        };
        cluster.fail(0, Fault::Refuses);
        cluster.nodes[1].put(&ask, "value").await.unwrap();
        cluster.nodes[1].noticed_missed_writes(1).await;
        cluster.heal();
        assert_eq!(cluster.nodes[0].copy(&ask).await, None);
        assert!(cluster.nodes[0].delete(&ask).await.unwrap().existed);
        for node in &cluster.nodes {
            assert!(node.values(&ask).await.is_empty(), "lww: {lww}");
        }
    }
}

#[tokio::test]
async fn a_context_that_is_ahead_of_the_minting_owner_is_caught_up_with() {
    let cluster = Cluster::start(3).await;
    let ask = Ask::key("k").lww();
    cluster.fail(0, Fault::Refuses);
    let written = cluster.nodes[1].put(&ask, "first").await.unwrap();
    cluster.nodes[1].noticed_missed_writes(1).await;
    cluster.heal();
    let second = cluster.nodes[0]
        .put(&ask.clone().context(&written.clock), "second")
        .await;
    assert!(second.unwrap().version > written.version);
    for node in &cluster.nodes {
        assert_eq!(node.values(&ask).await, ["second"]);
    }
}
