use std::time::Duration;

use annulus_proto::model::{ErrorCode, Outcome};

use super::cluster::{Ask, Cluster, Fault};
use super::hints::until;
use crate::clock::{Clock as _, SystemClock};
use crate::membership::Liveness;

/// A cluster in which these nodes hang, and all others believe something of them.
async fn hanging(nodes: &[usize], liveness: Liveness) -> Cluster {
    let cluster = Cluster::start(3).await;
    for hanging in nodes {
        cluster.fail(*hanging, Fault::Hangs);
        let id = cluster.nodes[*hanging].id;
        for node in &cluster.nodes {
            node.view.assume(id, liveness);
        }
    }
    cluster
}

#[tokio::test]
async fn an_owner_that_is_down_is_waited_for_by_nobody() {
    let cluster = hanging(&[2], Liveness::Down).await;
    let (ask, began) = (Ask::key("k").within_ms(20_000), SystemClock.now());
    for round in 0..20 {
        cluster.nodes[0]
            .put(&ask, &format!("{round}"))
            .await
            .unwrap();
        cluster.nodes[1].get(&ask).await.unwrap();
    }
    assert!(SystemClock.now() < began + Duration::from_secs(10));
}

#[tokio::test]
async fn a_quorum_that_owners_are_missing_from_is_refused_at_once_and_stays_what_it_was() {
    let cluster = hanging(&[1, 2], Liveness::Down).await;
    let (ask, began) = (Ask::key("k").within_ms(20_000), SystemClock.now());
    let put = cluster.nodes[0].put(&ask, "v").await.unwrap_err();
    let get = cluster.nodes[0].get(&ask).await.unwrap_err();
    for error in [put, get] {
        assert_eq!(error.code, ErrorCode::QuorumUnavailable, "{error}");
        assert_eq!(error.outcome, Outcome::Rejected, "{error}");
        assert!(
            error.message.contains("2 of the key's 3 owners are down"),
            "{error}"
        );
    }
    assert!(SystemClock.now() < began + Duration::from_secs(10));
    assert!(
        cluster.nodes[0].copy(&ask).await.is_none(),
        "nothing was written"
    );
    cluster.nodes[0]
        .put(&ask.clone().w("one"), "v")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_suspect_is_read_from_last_and_written_to() {
    let cluster = hanging(&[1], Liveness::Suspect).await;
    cluster.heal();
    let ask = Ask::key("k");
    cluster.nodes[0]
        .put(&ask.clone().w("all"), "v")
        .await
        .unwrap();
    cluster.fail(1, Fault::Hangs);
    let began = SystemClock.now();
    for _ in 0..20 {
        cluster.nodes[0]
            .get(&ask.clone().within_ms(20_000))
            .await
            .unwrap();
    }
    assert!(
        SystemClock.now() < began + Duration::from_secs(10),
        "it was asked first"
    );
}

#[tokio::test]
async fn an_owner_that_is_down_is_owed_a_hint_at_once_and_others_hear_of_the_backlog() {
    let cluster = hanging(&[2], Liveness::Down).await;
    let (node, other) = (&cluster.nodes[0], &cluster.nodes[1]);
    let ask = Ask::key("k").within_ms(60_000);
    node.put(&ask, "v").await.unwrap();
    // Not only when the write's deadline has passed.
    until("a hint is kept", async || node.hints_pending() == 1).await;
    let bytes = node.hints.backlog_bytes();
    assert!(bytes > 0);
    for gossiping in &cluster.nodes {
        gossiping.gossip();
    }
    until("the other one hears of it", async || {
        let backlog = other.backlog_heard_of(node.id);
        backlog == Some(bytes)
    })
    .await;
}
