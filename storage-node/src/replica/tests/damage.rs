//! A damaged record is `unavailable`, never absent, whatever is asked; a full disk takes deletes.

use annulus_causality::KeyState;
use annulus_proto::model::{ErrorCode, Outcome};

use super::fixture::{Fixture, merge, write};
use crate::replica::{KeyAddress, ReplicaError, Write};
use crate::storage::free_space::FreeSpace;

#[tokio::test]
async fn a_damaged_record_answers_unavailable_to_everything_and_is_not_overwritten() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    fixture.put(&key, "some value").await;
    fixture.engine.damage_the_only_record();
    answers_unavailable(&fixture, &key).await;
    fixture.engine.make_cold();
    answers_unavailable(&fixture, &key).await;
    assert_eq!(fixture.engine.writes().len(), 1);
    fixture.put(&fixture.kv("other"), "fine").await;
}

async fn answers_unavailable(fixture: &Fixture, key: &KeyAddress) {
    let errors = [
        fixture.replica.read(key).await.unwrap_err(),
        fixture.replica.digest(key).await.unwrap_err(),
        fixture.replica.mint(write(key, "new")).await.unwrap_err(),
        fixture
            .replica
            .merge(merge(key, &KeyState::new()))
            .await
            .unwrap_err(),
        fixture
            .replica
            .digests(key.partition(), None)
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, ReplicaError::Corrupt { .. }), "{error}");
        assert_eq!(
            (error.code(), error.outcome()),
            (ErrorCode::Unavailable, Outcome::Rejected)
        );
    }
}

#[tokio::test]
async fn a_nearly_full_disk_refuses_values_but_takes_deletes_and_reads() {
    let [fixture, roomy] = [
        Fixture::on_disk(FreeSpace::probed(|| Some(4))).await,
        Fixture::new().await,
    ];
    let key = fixture.kv("k");
    roomy.put(&key, "v").await;
    let state = roomy.replica.read(&key).await.unwrap().unwrap();
    let errors = [
        fixture.replica.mint(write(&key, "v")).await.unwrap_err(),
        fixture
            .replica
            .merge(merge(&key, &state))
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert_eq!(
            (error.code(), error.outcome()),
            (ErrorCode::DiskFull, Outcome::Rejected)
        );
    }
    let delete = Write {
        content: None,
        ..write(&key, "")
    };
    fixture
        .replica
        .mint(delete)
        .await
        .unwrap()
        .durable
        .await
        .unwrap();
    assert!(fixture.values(&key).await.is_empty());
}
