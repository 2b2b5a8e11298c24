//! What writes and merges make of a key.

use annulus_causality::{HlcStamp, KeyState, MintError, SIBLINGS_MAX};
use annulus_proto::model::{ErrorCode, Outcome, TimeToLive};
use bytes::Bytes;

use super::fixture::{Fixture, NOW_MS, merge, request, write};
use crate::replica::{ReplicaError, Write, version_of};

#[tokio::test]
async fn blind_writes_are_siblings_and_a_context_replaces_what_it_saw() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    let first = fixture.put(&key, "a").await;
    fixture.put(&key, "b").await;
    assert_eq!(fixture.values(&key).await, ["a", "b"]);
    let next = Write {
        context: first,
        ..write(&key, "c")
    };
    fixture
        .replica
        .mint(next)
        .await
        .unwrap()
        .durable
        .await
        .unwrap();
    assert_eq!(
        fixture.values(&key).await,
        ["b", "c"],
        "b was never seen, so it stays"
    );
}

#[tokio::test]
async fn last_writer_wins_with_a_version_that_grows_even_if_the_wall_clock_goes_back() {
    let fixture = Fixture::new().await;
    let key = fixture.data("k");
    let mut last = 0;
    for step in 0..5000 {
        if step == 2500 {
            fixture.clock.set_wall_ms(NOW_MS - 400);
        }
        let minted = fixture.replica.mint(write(&key, "v")).await.unwrap();
        assert!(minted.version > last, "step {step}");
        assert_eq!(minted.version, version_of(&minted.state));
        assert_eq!(minted.state.siblings().len(), 1);
        last = minted.version;
    }
}

#[tokio::test]
async fn a_retry_gets_its_first_answer_and_makes_no_sibling() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    let send = |number| Write {
        request_id: Some(request(number)),
        ..write(&key, "v")
    };
    let first = fixture.replica.mint(send(1)).await.unwrap();
    let retry = fixture.replica.mint(send(1)).await.unwrap();
    assert!(retry.replayed && !first.replayed);
    assert_eq!((&retry.clock, retry.version), (&first.clock, first.version));
    assert_eq!(fixture.values(&key).await, ["v"]);
    // A retry that comes after the value was replaced brings nothing back.
    let replace = Write {
        context: first.clock.clone(),
        ..write(&key, "w")
    };
    fixture
        .replica
        .mint(replace)
        .await
        .unwrap()
        .durable
        .await
        .unwrap();
    let late = fixture.replica.mint(send(1)).await.unwrap();
    assert_eq!((late.replayed, late.version), (true, first.version));
    late.durable.await.unwrap();
    assert_eq!(fixture.values(&key).await, ["w"]);
}

#[tokio::test]
async fn a_delete_leaves_a_tombstone_and_says_whether_there_was_something() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    let seen = fixture.put(&key, "v").await;
    let delete = Write {
        content: None,
        context: seen,
        ..write(&key, "")
    };
    let deleted = fixture.replica.mint(delete.clone()).await.unwrap();
    assert!(deleted.existed);
    let again = fixture
        .replica
        .mint(Write {
            context: deleted.clock,
            ..delete
        })
        .await
        .unwrap();
    assert!(!again.existed);
    again.durable.await.unwrap();
    assert!(fixture.values(&key).await.is_empty());
    assert!(
        fixture.replica.read(&key).await.unwrap().is_some(),
        "the clock stays"
    );
}

#[tokio::test]
async fn time_to_live_is_absolute_and_hides_the_value_when_over() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    let ttl = Some(TimeToLive::from_seconds(60).unwrap());
    let minted = fixture
        .replica
        .mint(Write {
            ttl,
            ..write(&key, "v")
        })
        .await
        .unwrap();
    assert_eq!(
        minted.state.siblings()[0].expires_at_ms,
        Some(NOW_MS + 60_000)
    );
    let digest = minted.state.digest();
    minted.durable.await.unwrap();
    assert_eq!(fixture.values(&key).await, ["v"]);
    fixture.clock.set_wall_ms(NOW_MS + 60_000);
    assert!(fixture.values(&key).await.is_empty());
    assert_eq!(
        fixture.replica.digest(&key).await.unwrap(),
        Some(digest),
        "expiry changes no digest"
    );
}

#[tokio::test]
async fn too_many_siblings_are_refused_by_the_minter_but_never_by_a_merge() {
    let fixture = Fixture::new().await;
    let [full, empty] = ["full", "empty"].map(|key| fixture.kv(key));
    for _ in 0..SIBLINGS_MAX {
        fixture.put(&full, "v").await;
    }
    let refused = fixture.replica.mint(write(&full, "v")).await.unwrap_err();
    assert!(matches!(
        refused,
        ReplicaError::NotMinted(MintError::SiblingLimit { .. })
    ));
    assert_eq!(
        (refused.code(), refused.outcome()),
        (ErrorCode::Conflict, Outcome::Rejected)
    );
    let state = fixture.replica.read(&full).await.unwrap().unwrap();
    assert_eq!(state.siblings().len(), SIBLINGS_MAX, "nothing was added");
    fixture.replica.merge(merge(&empty, &state)).await.unwrap();
}

#[tokio::test]
async fn a_merge_says_whether_it_changed_anything_and_whether_more_is_known_here() {
    let [fixture, other] = [Fixture::new().await, Fixture::new().await];
    let key = fixture.kv("k");
    other.put(&key, "theirs").await;
    let theirs = other.replica.read(&key).await.unwrap().unwrap();
    let answers = |merged: crate::replica::Merged| (merged.changed, merged.differs);
    let merged = fixture.replica.merge(merge(&key, &theirs)).await.unwrap();
    assert_eq!(answers(merged), (true, false));
    let merged = fixture.replica.merge(merge(&key, &theirs)).await.unwrap();
    assert_eq!(
        answers(merged),
        (false, false),
        "the same again changes nothing"
    );
    assert_eq!(fixture.engine.writes().len(), 1, "and is not written");
    fixture.put(&key, "ours").await;
    let merged = fixture.replica.merge(merge(&key, &theirs)).await.unwrap();
    assert_eq!(answers(merged), (false, true));
    assert_eq!(fixture.values(&key).await, ["ours", "theirs"]);
}

#[tokio::test]
async fn a_stamp_from_the_future_is_refused_and_leaves_nothing() {
    let [fixture, ahead] = [Fixture::new().await, Fixture::new().await];
    let key = fixture.data("k");
    ahead.clock.set_wall_ms(NOW_MS + 10_000);
    ahead.put(&key, "future").await;
    let poison = ahead.replica.read(&key).await.unwrap().unwrap();
    assert!(poison.max_stamp() >= Some(HlcStamp::at_ms(NOW_MS + 10_000)));
    let refused = fixture
        .replica
        .merge(merge(&key, &poison))
        .await
        .unwrap_err();
    assert!(matches!(refused, ReplicaError::ClockSkew(_)), "{refused}");
    assert_eq!(refused.outcome(), Outcome::Rejected);
    assert_eq!(fixture.replica.read(&key).await, Ok(None));
}

#[tokio::test]
async fn digests_list_every_key_of_a_partition_in_the_order_of_their_hashes() {
    let fixture = Fixture::new().await;
    let mut expected = 0;
    for number in 0..40 {
        let key = fixture.kv(&format!("key-{number}"));
        fixture.put(&key, "v").await;
        expected += usize::from(key.partition().0 == 3);
    }
    let partition = annulus_ring::PartitionId(3);
    let page = fixture.replica.digests(partition, None).await.unwrap();
    assert_eq!(page.digests.len(), expected);
    for listed in &page.digests {
        let key = fixture.kv(std::str::from_utf8(listed.key.as_bytes()).unwrap());
        assert_eq!(
            fixture.replica.digest(&key).await.unwrap(),
            Some(listed.digest)
        );
    }
    let rest = fixture.replica.digests(partition, page.next).await.unwrap();
    assert_eq!((rest.digests.len(), rest.next), (0, None));
}

#[tokio::test]
async fn what_is_sent_to_other_owners_is_the_resulting_state() {
    let fixture = Fixture::new().await;
    let minted = fixture
        .replica
        .mint(write(&fixture.kv("k"), "v"))
        .await
        .unwrap();
    assert_eq!(
        KeyState::decode(&minted.encoded).as_ref(),
        Ok(&*minted.state)
    );
    let value = minted
        .state
        .live(NOW_MS)
        .next()
        .and_then(|sibling| sibling.value(NOW_MS).cloned());
    assert_eq!(value, Some(Bytes::from_static(b"v")));
}

#[tokio::test]
async fn keys_that_left_memory_are_read_from_the_disk() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    fixture.put(&key, "a").await;
    fixture.engine.make_cold();
    fixture.put(&key, "b").await;
    assert_eq!(fixture.values(&key).await, ["a", "b"]);
    assert_eq!(fixture.replica.read(&fixture.kv("other")).await, Ok(None));
}
