use std::time::Duration;

use annulus_proto::model::{ErrorCode, Outcome};

use super::cluster::{Ask, Cluster, Fault};
use crate::clock::{Clock as _, SystemClock};

/// A cluster in which only `holder` has the value.
async fn value_on_one(holder: usize, ask: &Ask) -> Cluster {
    let cluster = Cluster::start(3).await;
    for node in (0..3).filter(|node| *node != holder) {
        cluster.fail(node, Fault::Refuses);
    }
    cluster.nodes[holder]
        .put(&ask.clone().w("one"), "value")
        .await
        .unwrap();
    cluster.nodes[holder].noticed_missed_writes(2).await;
    cluster.heal();
    let copies = cluster.copies(ask).await;
    assert_eq!(
        copies.iter().flatten().count(),
        1,
        "the others lack it: {copies:?}"
    );
    cluster
}

#[tokio::test]
async fn an_absent_key_is_found_to_be_absent() {
    let cluster = Cluster::start(5).await;
    for node in &cluster.nodes {
        let found = node.get(&Ask::key("nobody wrote it")).await.unwrap();
        assert!(found.state.siblings().is_empty() && found.state.clock().is_empty());
    }
}

#[tokio::test]
async fn a_quorum_read_that_shows_a_minority_write_puts_it_on_a_quorum_first() {
    let ask = Ask::key("k");
    let cluster = value_on_one(1, &ask).await;
    cluster.fail(2, Fault::Down); // so that the read can't do without the holder
    assert_eq!(cluster.nodes[0].values(&ask).await, ["value"]);
    assert!(
        cluster.nodes[0].copy(&ask).await.is_some(),
        "repaired before the answer"
    );
}

#[tokio::test]
async fn a_read_of_all_mends_all() {
    let ask = Ask::key("k");
    let cluster = value_on_one(2, &ask).await;
    assert_eq!(
        cluster.nodes[0].values(&ask.clone().r("all")).await,
        ["value"]
    );
    cluster.converged(&ask).await;
}

#[tokio::test]
async fn a_read_whose_repair_fails_shows_nothing() {
    let ask = Ask::key("k");
    let cluster = value_on_one(1, &ask).await;
    cluster.fail(0, Fault::RefusesMerges);
    cluster.fail(2, Fault::RefusesMerges);
    let error = cluster.nodes[1].get(&ask).await.unwrap_err();
    assert_eq!(
        (error.code, error.outcome),
        (ErrorCode::QuorumUnavailable, Outcome::Rejected)
    );
    cluster.heal();
    assert_eq!(cluster.nodes[1].values(&ask).await, ["value"]);
}

#[tokio::test]
async fn an_owner_that_was_not_asked_takes_the_repair_when_the_stale_one_fails() {
    let ask = Ask::key("k");
    let cluster = value_on_one(1, &ask).await;
    for stale in [0, 2] {
        cluster.heal();
        cluster.fail(stale, Fault::RefusesMerges);
        assert_eq!(cluster.nodes[1].values(&ask).await, ["value"]);
    }
}

#[tokio::test]
async fn a_context_widens_a_read_until_it_is_reached() {
    let ask = Ask::key("k");
    let cluster = value_on_one(2, &ask).await;
    let written = cluster.nodes[2]
        .get(&ask.clone().r("one"))
        .await
        .unwrap()
        .state
        .context();
    let plain = ask.clone().r("one");
    let session = ask.clone().r("one").context(&written);
    assert!(
        cluster.nodes[0].values(&plain).await.is_empty(),
        "its own copy lacks it"
    );
    assert_eq!(cluster.nodes[0].values(&session).await, ["value"]);
}

#[tokio::test]
async fn a_context_that_no_reachable_owner_has_seen_is_an_error() {
    let ask = Ask::key("k");
    let cluster = value_on_one(2, &ask).await;
    let written = cluster.nodes[2]
        .get(&ask.clone().r("one"))
        .await
        .unwrap()
        .state
        .context();
    cluster.fail(2, Fault::Down);
    let error = cluster.nodes[0]
        .get(&ask.r("one").context(&written))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::QuorumUnavailable);
    assert!(error.message.contains("context not reached"), "{error}");
}

#[tokio::test]
async fn too_few_owners_fail_a_read() {
    let cluster = Cluster::start(5).await;
    let ask = Ask::key("k");
    let (owners, others) = cluster.owners(&ask);
    cluster.nodes[others[0]]
        .put(&ask.clone().w("all"), "value")
        .await
        .unwrap();
    cluster.fail(owners[0], Fault::Down);
    cluster.fail(owners[1], Fault::Refuses);
    let error = cluster.nodes[others[0]].get(&ask).await.unwrap_err();
    assert_eq!(
        (error.code, error.outcome),
        (ErrorCode::QuorumUnavailable, Outcome::Rejected)
    );
    assert_eq!(
        cluster.nodes[others[0]].values(&ask.r("one")).await,
        ["value"]
    );
}

#[tokio::test]
async fn owners_that_hang_end_a_read_at_its_deadline() {
    let cluster = Cluster::start(3).await;
    let ask = Ask::key("k").within_ms(300);
    cluster.fail(1, Fault::Hangs);
    cluster.fail(2, Fault::Hangs);
    let error = cluster.nodes[0].get(&ask).await.unwrap_err();
    assert_eq!(
        (error.code, error.outcome),
        (ErrorCode::Timeout, Outcome::Rejected)
    );
}

#[tokio::test]
async fn a_slow_owner_is_replaced_long_before_the_deadline() {
    let cluster = Cluster::start(3).await;
    let ask = Ask::key("k");
    cluster.nodes[0]
        .put(&ask.clone().w("all"), "value")
        .await
        .unwrap();
    for slow in [1, 2] {
        cluster.heal();
        cluster.fail(slow, Fault::Hangs);
        let asked = SystemClock.now();
        assert_eq!(cluster.nodes[0].values(&ask).await, ["value"]);
        assert!(
            SystemClock.now() - asked < Duration::from_secs(2),
            "timeout is 5 s"
        );
    }
}
