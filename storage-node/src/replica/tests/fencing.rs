//! Who may ask: owned partitions, at epochs that are not fenced off, before and after.

use annulus_proto::model::{ErrorCode, Outcome};
use annulus_ring::RingEpoch;

use super::fixture::{EPOCH, Fixture, merge, partitions, write};
use crate::replica::{Merge, ReplicaError, Write};

#[tokio::test]
async fn an_older_epoch_is_refused_and_nothing_happens() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    let fence = RingEpoch(EPOCH.0 - 1);
    let refused = fixture
        .replica
        .mint(Write {
            fence,
            ..write(&key, "v")
        })
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.outcome()),
        (ErrorCode::StaleEpoch, Outcome::Rejected)
    );
    let state = annulus_causality::KeyState::new();
    let refused = fixture
        .replica
        .merge(Merge {
            fence,
            ..merge(&key, &state)
        })
        .await
        .unwrap_err();
    assert_eq!(refused.outcome(), Outcome::Rejected);
    assert_eq!(fixture.replica.read(&key).await, Ok(None));
}

#[tokio::test]
async fn a_fence_that_rises_meanwhile_makes_the_outcome_unknown() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    fixture.engine.hold();
    let minted = fixture.replica.mint(write(&key, "v")).await.unwrap();
    // No vnode is new, so this writes nothing and does not wait for the held log.
    fixture
        .replica
        .own(partitions(), RingEpoch(EPOCH.0 + 1))
        .await
        .unwrap();
    fixture.engine.release();
    let error = minted.durable.await.unwrap_err();
    assert!(
        matches!(error, ReplicaError::StaleEpoch { applied: true, .. }),
        "{error}"
    );
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(fixture.values(&key).await, ["v"], "it did take effect");
}

#[tokio::test]
async fn the_fence_never_falls() {
    let fixture = Fixture::new().await;
    fixture
        .replica
        .own(partitions(), RingEpoch(EPOCH.0 + 2))
        .await
        .unwrap();
    fixture.replica.own(partitions(), EPOCH).await.unwrap();
    let refused = fixture
        .replica
        .mint(write(&fixture.kv("k"), "v"))
        .await
        .unwrap_err();
    assert!(matches!(refused, ReplicaError::StaleEpoch { .. }));
}

#[tokio::test]
async fn a_partition_that_is_not_owned_answers_nothing() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    fixture.put(&key, "v").await;
    let rest = partitions()
        .into_iter()
        .filter(|&partition| partition != key.partition());
    fixture
        .replica
        .own(rest.collect(), RingEpoch(EPOCH.0 + 1))
        .await
        .unwrap();
    let refused = fixture.replica.read(&key).await.unwrap_err();
    assert_eq!(
        refused,
        ReplicaError::NotOwner {
            partition: key.partition(),
            applied: false
        }
    );
    assert_eq!(refused.code(), ErrorCode::Unavailable, "not absent");
    assert!(fixture.replica.mint(write(&key, "w")).await.is_err());
    assert_eq!(fixture.replica.vnodes().len(), partitions().len() - 1);
}
