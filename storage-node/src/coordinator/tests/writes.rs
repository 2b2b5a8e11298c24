use annulus_proto::model::{ErrorCode, Outcome, RequestError};

use super::cluster::{Ask, Cluster, Fault};

fn verdict(error: &RequestError) -> (ErrorCode, Outcome) {
    (error.code, error.outcome)
}

#[tokio::test]
async fn there_is_no_wrong_node() {
    let cluster = Cluster::start(5).await;
    for (writer, node) in cluster.nodes.iter().enumerate() {
        let ask = Ask::key(&format!("key-{writer}"));
        node.put(&ask, "value").await.unwrap();
        for reader in &cluster.nodes {
            assert_eq!(reader.values(&ask).await, ["value"]);
        }
    }
}

#[tokio::test]
async fn all_owners_get_every_write() {
    let cluster = Cluster::start(3).await;
    let ask = Ask::key("k").w("one");
    cluster.nodes[0].put(&ask, "value").await.unwrap();
    cluster.converged(&ask).await;
}

#[tokio::test]
async fn a_context_replaces_what_it_covers_and_blind_writes_are_siblings() {
    let cluster = Cluster::start(3).await;
    let ask = Ask::key("k");
    let first = cluster.nodes[0].put(&ask, "first").await.unwrap();
    cluster.nodes[1].put(&ask, "blind").await.unwrap();
    cluster.nodes[2]
        .put(&ask.clone().context(&first.clock), "second")
        .await
        .unwrap();
    let mut values = cluster.nodes[0].values(&ask).await;
    values.sort_unstable();
    assert_eq!(values, ["blind", "second"]);
}

#[tokio::test]
async fn the_last_writer_wins_where_the_keyspace_says_so_and_versions_grow() {
    let cluster = Cluster::start(3).await;
    let ask = Ask::key("k").lww();
    let mut versions = Vec::new();
    for (turn, node) in [0, 1, 2, 0, 2, 1].into_iter().enumerate() {
        versions.push(
            cluster.nodes[node]
                .put(&ask, &format!("{turn}"))
                .await
                .unwrap()
                .version,
        );
    }
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    assert_eq!(cluster.nodes[1].values(&ask).await, ["5"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_grow_whichever_node_is_asked_and_however_quickly() {
    let cluster = Cluster::start(3).await;
    for key in 0..40 {
        let ask = Ask::key(&format!("k{key}")).lww();
        let mut versions = Vec::new();
        for turn in 0..50 {
            let node = &cluster.nodes[(turn + key) % 3];
            versions.push(node.put(&ask, &format!("{turn}")).await.unwrap().version);
        }
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert_eq!(cluster.nodes[key % 3].values(&ask).await, ["49"]);
    }
}

#[tokio::test]
async fn a_context_of_an_own_write_replaces_nobody_elses() {
    let cluster = Cluster::start(3).await;
    let ask = Ask::key("k");
    cluster.nodes[0].put(&ask, "unseen").await.unwrap();
    let own = cluster.nodes[0].put(&ask, "own").await.unwrap();
    let next = ask.clone().context(&own.clock);
    cluster.nodes[0].put(&next, "next").await.unwrap();
    let mut values = cluster.nodes[1].values(&ask).await;
    values.sort_unstable();
    assert_eq!(values, ["next", "unseen"]);
}

#[tokio::test]
async fn a_quorum_outlives_a_dead_node() {
    let cluster = Cluster::start(3).await;
    for fault in [
        Fault::Down,
        Fault::Refuses,
        Fault::Hangs,
        Fault::LosesReplies,
    ] {
        cluster.heal();
        cluster.fail(2, fault);
        let ask = Ask::key(&format!("{fault:?}"));
        cluster.nodes[0].put(&ask, "value").await.unwrap();
        assert_eq!(cluster.nodes[1].values(&ask).await, ["value"]);
    }
}

#[tokio::test]
async fn a_write_that_is_known_to_miss_its_quorum_leaves_no_trace() {
    let cluster = Cluster::start(5).await;
    let ask = Ask::key("k").w("all");
    let (owners, others) = cluster.owners(&ask);
    cluster.fail(owners[1], Fault::Down);
    for node in [owners[0], owners[2], others[0]] {
        let error = cluster.nodes[node].put(&ask, "value").await.unwrap_err();
        assert_eq!(
            verdict(&error),
            (ErrorCode::QuorumUnavailable, Outcome::Rejected),
            "{error}"
        );
    }
    for owner in owners {
        assert_eq!(cluster.nodes[owner].copy(&ask).await, None);
    }
}

#[tokio::test]
async fn a_write_that_missed_its_quorum_after_the_mint_is_unknown() {
    let cluster = Cluster::start(3).await;
    let ask = Ask::key("k").w("all").within_ms(200);
    cluster.fail(1, Fault::Refuses);
    let error = cluster.nodes[0].put(&ask, "value").await.unwrap_err();
    assert_eq!(
        verdict(&error),
        (ErrorCode::QuorumUnavailable, Outcome::Unknown),
        "{error}"
    );
    cluster.fail(1, Fault::Hangs);
    let error = cluster.nodes[0].put(&ask, "value").await.unwrap_err();
    assert_eq!(
        verdict(&error),
        (ErrorCode::Timeout, Outcome::Unknown),
        "{error}"
    );
    assert!(cluster.nodes[0].copy(&ask).await.is_some(), "it did happen");
}

#[tokio::test]
async fn a_lost_reply_leads_to_the_next_owner_and_still_to_one_value() {
    let cluster = Cluster::start(5).await;
    let ask = Ask::key("k");
    let (owners, others) = cluster.owners(&ask);
    cluster.fail(owners[0], Fault::LosesReplies);
    cluster.nodes[others[0]].put(&ask, "value").await.unwrap();
    cluster.heal();
    assert_eq!(
        cluster.nodes[others[1]].values(&ask.clone().r("all")).await,
        ["value"]
    );
}

#[tokio::test]
async fn a_forwarded_write_of_which_all_replies_are_lost_is_unknown() {
    let cluster = Cluster::start(5).await;
    let ask = Ask::key("k").within_ms(500);
    let (owners, others) = cluster.owners(&ask);
    for owner in &owners {
        cluster.fail(*owner, Fault::LosesReplies);
    }
    let error = cluster.nodes[others[0]]
        .put(&ask, "value")
        .await
        .unwrap_err();
    assert_eq!(error.outcome, Outcome::Unknown, "{error}");
}

#[tokio::test]
async fn a_forwarded_write_that_reached_nobody_is_rejected() {
    let cluster = Cluster::start(5).await;
    let ask = Ask::key("k");
    let (owners, others) = cluster.owners(&ask);
    for owner in &owners {
        cluster.fail(*owner, Fault::Refuses);
    }
    let error = cluster.nodes[others[0]]
        .put(&ask, "value")
        .await
        .unwrap_err();
    assert_eq!(
        verdict(&error),
        (ErrorCode::QuorumUnavailable, Outcome::Rejected),
        "{error}"
    );
}

#[tokio::test]
async fn an_owner_that_hangs_leaves_time_for_the_next() {
    let cluster = Cluster::start(5).await;
    let ask = Ask::key("k").within_ms(1000);
    let (owners, others) = cluster.owners(&ask);
    cluster.fail(owners[0], Fault::Hangs);
    cluster.nodes[others[0]].put(&ask, "value").await.unwrap();
}

#[tokio::test]
async fn a_retry_with_the_same_request_id_makes_no_sibling() {
    let cluster = Cluster::start(3).await;
    let ask = Ask::key("k").id(1);
    let first = cluster.nodes[0].put(&ask, "value").await.unwrap();
    let again = cluster.nodes[0].put(&ask, "value").await.unwrap();
    assert_eq!(first, again);
    for node in &cluster.nodes {
        node.put(&ask, "value").await.unwrap();
    }
    assert_eq!(cluster.nodes[1].values(&ask).await, ["value"]);
    // Overwritten in between, the retry does not bring it back.
    let seen = cluster.nodes[1].get(&ask).await.unwrap().state.context();
    cluster.nodes[1]
        .put(&Ask::key("k").context(&seen), "newer")
        .await
        .unwrap();
    cluster.converged(&ask).await;
    cluster.nodes[2].put(&ask, "value").await.unwrap();
    assert_eq!(cluster.nodes[0].values(&ask).await, ["newer"]);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_write_behind_on_one_owner() {
    let cluster = Cluster::start(3).await;
    let ask = Ask::key("k");
    let mut put = Box::pin(cluster.nodes[0].put(&ask, "value"));
    assert!(futures::poll!(&mut put).is_pending());
    drop(put);
    cluster.converged(&ask).await;
}

#[tokio::test]
async fn impossible_demands_are_refused() {
    let cluster = Cluster::start(3).await;
    let ask = Ask::key("k");
    let write = cluster.nodes[0]
        .put(&ask.clone().w("4"), "value")
        .await
        .unwrap_err();
    let read = cluster.nodes[0].get(&ask.clone().r("4")).await.unwrap_err();
    let delete = cluster.nodes[0]
        .delete(&ask.clone().r("4"))
        .await
        .unwrap_err();
    for error in [write, read, delete] {
        assert_eq!(
            verdict(&error),
            (ErrorCode::InvalidArgument, Outcome::Rejected)
        );
    }
    assert_eq!(cluster.copies(&ask).await, [None, None, None]);
}

#[tokio::test]
async fn a_write_past_its_deadline_is_not_begun() {
    let cluster = Cluster::start(3).await;
    let ask = Ask::key("k").within_ms(0);
    let error = cluster.nodes[0].put(&ask, "value").await.unwrap_err();
    assert_eq!(verdict(&error), (ErrorCode::Timeout, Outcome::Rejected));
    assert_eq!(cluster.copies(&ask).await, [None, None, None]);
}
