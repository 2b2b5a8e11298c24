//! A damaged record is `unavailable`, never absent, whatever is asked.

use annulus_causality::KeyState;
use annulus_proto::model::{ErrorCode, Outcome};

use super::fixture::{Fixture, merge, write};
use crate::replica::ReplicaError;

#[tokio::test]
async fn a_damaged_record_answers_unavailable_to_everything_and_is_not_overwritten() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    fixture.put(&key, "some value").await;
    fixture.engine.damage_the_only_record();
    let errors = [
        fixture.replica.read(&key).await.unwrap_err(),
        fixture.replica.digest(&key).await.unwrap_err(),
        fixture.replica.mint(write(&key, "new")).await.unwrap_err(),
        fixture
            .replica
            .merge(merge(&key, &KeyState::new()))
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
    assert_eq!(fixture.engine.writes().len(), 1);
    fixture.put(&fixture.kv("other"), "fine").await;
}
