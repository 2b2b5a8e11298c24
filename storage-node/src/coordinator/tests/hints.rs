//! Writes that an owner missed, and how it comes by them.

use std::time::Duration;

use annulus_causality::HlcStamp;
use annulus_proto::model::Outcome;
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Ask, Cluster, Fault};
use crate::clock::{Clock as _, SystemClock};
use crate::hints::{Handover, Taken};

/// Waits until something is so.
pub(super) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = timeout(Duration::from_secs(20), waiting).await;
    waited.unwrap_or_else(|_| panic!("it does not come to pass that {what}"));
}

#[tokio::test]
async fn an_owner_that_comes_back_is_handed_what_it_missed_by_those_who_kept_it() {
    let cluster = Cluster::start(3).await;
    cluster.fail(2, Fault::Down);
    let asks: Vec<_> = (0..20).map(|n| Ask::key(&format!("k{n}"))).collect();
    for ask in &asks {
        cluster.nodes[0].put(ask, "value").await.unwrap();
    }
    until("20 hints are kept", async || {
        cluster.nodes[0].hints_pending() == 20
    })
    .await;
    cluster.nodes[0].deliver_hints();
    cluster.heal();
    until("all are delivered", async || {
        cluster.nodes[0].hints_pending() == 0
    })
    .await;
    for ask in &asks {
        let (minted, handed_over) = (
            cluster.nodes[0].copy(ask).await,
            cluster.nodes[2].copy(ask).await,
        );
        assert!(handed_over.is_some(), "{ask:?}");
        assert_eq!(minted, handed_over, "a delivery mints nothing");
    }
}

#[tokio::test]
async fn a_hot_key_needs_one_hint() {
    let cluster = Cluster::start(3).await;
    cluster.fail(2, Fault::Down);
    let ask = Ask::key("k");
    let mut context = cluster.nodes[0].put(&ask, "0").await.unwrap().clock;
    for turn in 1..30 {
        let ask = ask.clone().context(&context);
        context = cluster.nodes[0]
            .put(&ask, &turn.to_string())
            .await
            .unwrap()
            .clock;
    }
    cluster.nodes[0].noticed_missed_writes(30).await;
    until("one hint is kept", async || {
        cluster.nodes[0].hints_pending() == 1
    })
    .await;
    cluster.nodes[0].deliver_hints();
    cluster.heal();
    cluster.converged(&ask).await;
    assert_eq!(cluster.nodes[2].values(&ask.r("one")).await, ["29"]);
}

#[tokio::test]
async fn a_write_that_failed_for_its_client_is_handed_over_too() {
    let cluster = Cluster::start(3).await;
    cluster.fail(1, Fault::Refuses);
    cluster.fail(2, Fault::Refuses);
    let ask = Ask::key("k");
    let error = cluster.nodes[0].put(&ask, "value").await.unwrap_err();
    assert_eq!(error.outcome, Outcome::Unknown);
    until("both are owed it", async || {
        cluster.nodes[0].hints_pending() == 2
    })
    .await;
    cluster.nodes[0].deliver_hints();
    cluster.heal();
    cluster.converged(&ask).await;
}

#[tokio::test]
async fn hints_of_a_node_that_stays_away_stay() {
    let cluster = Cluster::start(3).await;
    cluster.fail(2, Fault::Down);
    cluster.nodes[0].deliver_hints();
    cluster.nodes[0].put(&Ask::key("k"), "value").await.unwrap();
    until("it is kept", async || cluster.nodes[0].hints_pending() == 1).await;
    cluster.fail(2, Fault::Hangs);
    cluster.nodes[0]
        .put(&Ask::key("l").within_ms(50), "value")
        .await
        .unwrap();
    until("both are kept", async || {
        cluster.nodes[0].hints_pending() == 2
    })
    .await;
    assert!(cluster.nodes[2].copy(&Ask::key("k")).await.is_none());
}

/// Hands node 0 a state, as written then.
async fn hand_over(cluster: &Cluster, ask: &Ask, written_ms: u64, sloppy: bool) -> Taken {
    // The other two may have confirmed the write first.
    until("its own copy is written", async || {
        cluster.nodes[1].copy(ask).await.is_some()
    })
    .await;
    let state = cluster.nodes[1].copy(ask).await.unwrap();
    let handover = Handover {
        keyspace: ask.keyspace.clone(),
        key: ask.key.clone(),
        state: state.encode(),
        written: HlcStamp::at_ms(written_ms),
        sloppy,
    };
    let placement = cluster.nodes[0].placement.current().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    let own = cluster.nodes[0].placement.own_index(&placement);
    let taken = cluster.nodes[0]
        .hints
        .take((&placement, own), vec![handover], deadline);
    taken.await[0]
}

#[tokio::test]
async fn the_receiver_refuses_what_is_too_old() {
    let cluster = Cluster::start(3).await;
    cluster.fail(0, Fault::Down);
    let ask = Ask::key("k");
    cluster.nodes[1].put(&ask, "value").await.unwrap();
    let now_ms = SystemClock.wall_ms();
    let (old_ms, hour_ms) = (now_ms - 4 * 3_600_000, 3_600_000);
    assert_eq!(
        hand_over(&cluster, &ask, old_ms, false).await,
        Taken::Expired
    );
    assert!(cluster.nodes[0].copy(&ask).await.is_none());
    let recent = hand_over(&cluster, &ask, now_ms - hour_ms, false);
    assert_eq!(recent.await, Taken::Applied);
    // What was promised has no age.
    assert_eq!(
        hand_over(&cluster, &ask, old_ms, true).await,
        Taken::Applied
    );
}

#[tokio::test]
async fn a_node_takes_no_hints_for_keys_that_it_does_not_own() {
    let cluster = Cluster::start(5).await;
    let ask = (0..1_000)
        .map(|n| Ask::key(&format!("k{n}")))
        .find(|ask| {
            let (owners, _) = cluster.owners(ask);
            owners.contains(&1) && !owners.contains(&0)
        })
        .unwrap();
    cluster.nodes[1].put(&ask, "value").await.unwrap();
    let taken = hand_over(&cluster, &ask, SystemClock.wall_ms(), false);
    assert_eq!(taken.await, Taken::NotOwner);
}

#[tokio::test]
async fn what_its_target_no_longer_owns_goes_to_all_who_do() {
    let cluster = Cluster::start(4).await;
    let ask = Ask::key("k");
    let (owners, others) = cluster.owners(&ask);
    let (away, heir) = (owners[2], others[0]);
    cluster.fail(away, Fault::Down);
    let minter = &cluster.nodes[owners[0]];
    minter.put(&ask, "value").await.unwrap();
    until("it is kept", async || minter.hints_pending() == 1).await;
    let mut document = cluster.document(2);
    for owner in &mut document.owners {
        // The node without a place takes that of the one that is away.
        if usize::from(owner.0) == away {
            owner.0 = u16::try_from(heir).unwrap();
        } else if usize::from(owner.0) == heir {
            owner.0 = u16::try_from(away).unwrap();
        }
    }
    for node in cluster
        .nodes
        .iter()
        .filter(|node| node.id != cluster.nodes[away].id)
    {
        node.placement
            .install(document.clone().try_into().unwrap())
            .await
            .unwrap();
    }
    minter.deliver_hints();
    until("it is handed over", async || minter.hints_pending() == 0).await;
    cluster.nodes[heir].until_whole().await;
    assert!(cluster.nodes[heir].copy(&ask).await.is_some());
}
