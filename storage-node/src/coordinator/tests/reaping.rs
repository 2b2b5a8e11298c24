//! Requests that meet a deleted key in the middle of its removal, or after it.

use super::cluster::{Ask, Cluster, Fault, TestNode, shown};

/// A key that was deleted on all nodes.
async fn deleted(cluster: &Cluster, ask: &Ask) -> annulus_causality::VersionVector {
    let all = ask.clone().w("all");
    cluster.nodes[0].put(&all, "value").await.unwrap();
    cluster.nodes[0].delete(&all).await.unwrap();
    let found = cluster.nodes[0].get(&ask.clone().r("all")).await.unwrap();
    assert!(shown(&found).is_empty());
    found.state.context()
}

#[tokio::test]
async fn a_read_in_the_middle_of_a_removal_does_not_copy_the_tombstone_back() {
    let cluster = Cluster::start_forgetful(3).await;
    let ask = Ask::key("k");
    deleted(&cluster, &ask).await;
    cluster.nodes[0].remove_tombstone(&ask).await;
    for level in ["all", "quorum"] {
        for node in &cluster.nodes {
            assert!(node.values(&ask.clone().r(level)).await.is_empty());
        }
    }
    assert!(cluster.copies(&ask).await[0].is_none());
    let left: u64 = cluster
        .nodes
        .iter()
        .map(TestNode::repairs_left_to_reaping)
        .sum();
    assert!(left >= 3, "{left}");
}

#[tokio::test]
async fn a_copy_that_missed_the_delete_is_covered_as_ever() {
    let cluster = Cluster::start_forgetful(3).await;
    let ask = Ask::key("k");
    let put = cluster.nodes[0]
        .put(&ask.clone().w("all"), "value")
        .await
        .unwrap();
    cluster.fail(2, Fault::RefusesMerges);
    let delete = ask.clone().context(&put.clock);
    cluster.nodes[0].delete(&delete).await.unwrap();
    // A removal that no rule allows.
    cluster.nodes[0].remove_tombstone(&ask).await;
    cluster.heal();
    let mut reads = 0;
    loop {
        assert!(
            cluster.nodes[1]
                .values(&ask.clone().r("all"))
                .await
                .is_empty()
        );
        let copies = cluster.copies(&ask).await;
        if copies[2].as_ref().unwrap().ended_at_ms().is_some() {
            break;
        }
        reads += 1;
        assert!(reads < 1000, "it is never covered: {copies:?}");
    }
}

#[tokio::test]
async fn with_an_owner_away_a_tombstone_is_copied_to_those_that_lack_it() {
    let cluster = Cluster::start_forgetful(3).await;
    let ask = Ask::key("k");
    deleted(&cluster, &ask).await;
    cluster.nodes[0].remove_tombstone(&ask).await;
    cluster.fail(2, Fault::Down);
    assert!(cluster.nodes[1].values(&ask).await.is_empty());
    let copies = cluster.copies(&ask).await;
    assert!(copies[0].is_some(), "the answer waited for it");
}

#[tokio::test]
async fn contexts_of_a_reaped_key_are_still_good() {
    let cluster = Cluster::start_forgetful(3).await;
    for ask in [Ask::key("k"), Ask::key("k").lww()] {
        let seen = deleted(&cluster, &ask).await;
        for node in &cluster.nodes {
            node.remove_tombstone(&ask).await;
        }
        let later = ask.clone().context(&seen);
        assert!(cluster.nodes[1].values(&later).await.is_empty());
        cluster.nodes[1].put(&later, "again").await.unwrap();
        assert_eq!(cluster.nodes[2].values(&ask.r("all")).await, ["again"]);
    }
}

#[tokio::test]
async fn a_context_that_some_owner_may_have_reached_is_waited_for() {
    let cluster = Cluster::start_forgetful(3).await;
    let ask = Ask::key("k");
    let seen = deleted(&cluster, &ask).await;
    for node in &cluster.nodes[..2] {
        node.remove_tombstone(&ask).await;
    }
    cluster.fail(2, Fault::Down);
    let error = cluster.nodes[0].get(&ask.context(&seen)).await.unwrap_err();
    assert!(error.message.contains("context not reached"), "{error}");
}
