//! Group commit: order, grouping, bounds, and the end after a failed log write.

use std::collections::HashSet;
use std::time::Duration;

use annulus_proto::model::{ErrorCode, Outcome, RequestError};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fixture::{Fixture, merge, write};
use crate::replica::{ReplicaError, ReplicaOptions, TombstoneRule, Write};
use crate::storage::Persistence;

const ONE_COMMITTER: ReplicaOptions = ReplicaOptions {
    committers: 1,
    queue_operations: 3,
    queue_bytes: 1 << 20,
    group_operations: 100,
    group_bytes: 1 << 20,
    io: crate::storage::io_pool::IoPoolOptions {
        threads: 1,
        queue_jobs: 8,
    },
    tombstones: TombstoneRule {
        age: Duration::from_secs(60),
        max_clock_skew: Duration::ZERO,
    },
};

/// Polls a future once, so that what it asks for is queued.
async fn begin<F: Future + Unpin>(future: &mut F) {
    assert!(futures::poll!(future).is_pending());
}

#[tokio::test]
async fn a_write_is_handed_out_before_the_log_and_held_only_after_it() {
    let fixture = Fixture::new().await;
    fixture.engine.hold();
    let minted = fixture
        .replica
        .mint(write(&fixture.kv("k"), "v"))
        .await
        .unwrap();
    let mut durable = minted.durable;
    begin(&mut durable).await;
    assert!(fixture.engine.writes().is_empty());
    fixture.engine.release();
    durable.await.unwrap();
    assert_eq!(fixture.engine.writes(), [(1, Persistence::Synced)]);
}

#[tokio::test]
async fn what_gathers_during_one_fsync_shares_the_next_and_sees_each_other() {
    let fixture = Fixture::new().await;
    fixture.engine.hold();
    let first = fixture
        .replica
        .mint(write(&fixture.kv("other"), "v"))
        .await
        .unwrap();
    let key = fixture.data("k");
    let mut later: Vec<_> = (0..5)
        .map(|_| Box::pin(fixture.replica.mint(write(&key, "v"))))
        .collect();
    for minting in &mut later {
        begin(minting).await;
    }
    fixture.engine.release();
    first.durable.await.unwrap();
    let mut versions = Vec::new();
    for minting in later {
        let minted = minting.await.unwrap();
        versions.push(minted.version);
        minted.durable.await.unwrap();
    }
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    assert_eq!(
        fixture.engine.writes(),
        [(1, Persistence::Synced), (5, Persistence::Synced)]
    );
    let state = fixture.replica.read(&key).await.unwrap().unwrap();
    let events: u64 = state.clock().iter().map(|(_, counter)| counter).sum();
    assert_eq!((state.siblings().len(), events), (1, 5));
}

#[tokio::test]
async fn an_async_keyspace_asks_for_no_fsync() {
    let fixture = Fixture::new().await;
    fixture.put(&fixture.fast("k"), "v").await;
    assert_eq!(fixture.engine.writes(), [(1, Persistence::Buffered)]);
}

#[tokio::test]
async fn concurrent_writers_of_one_key_lose_nothing() {
    let fixture = Fixture::with(ReplicaOptions::default()).await;
    let key = fixture.kv("k");
    let mut writers = JoinSet::new();
    for _ in 0..50 {
        let (replica, write) = (fixture.replica.clone(), write(&key, "v"));
        writers.spawn(async move {
            let minted = replica.mint(write).await.unwrap();
            minted.durable.await.unwrap();
        });
    }
    writers.join_all().await;
    let state = fixture.replica.read(&key).await.unwrap().unwrap();
    let dots: HashSet<_> = state.siblings().iter().map(|sibling| sibling.dot).collect();
    assert_eq!(dots.len(), 50);
}

#[tokio::test]
async fn a_full_queue_answers_at_once_that_nothing_happened() {
    let fixture = Fixture::with(ONE_COMMITTER).await;
    fixture.engine.hold();
    let blocking = fixture
        .replica
        .mint(write(&fixture.kv("k"), "v"))
        .await
        .unwrap();
    let mut queued: Vec<_> = (0..3)
        .map(|_| Box::pin(fixture.replica.mint(write(&fixture.kv("k"), "v"))))
        .collect();
    for minting in &mut queued {
        begin(minting).await;
    }
    let refused = fixture
        .replica
        .mint(write(&fixture.kv("k"), "v"))
        .await
        .unwrap_err();
    let error = RequestError::from(refused);
    assert_eq!(
        (error.code, error.outcome),
        (ErrorCode::Overloaded, Outcome::Rejected)
    );
    assert!(error.retry_after.is_some());
    fixture.engine.release();
    blocking.durable.await.unwrap();
    for minting in queued {
        minting.await.unwrap().durable.await.unwrap();
    }
    assert_eq!(fixture.values(&fixture.kv("k")).await.len(), 4);
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_or_comes_too_late_is_not_begun() {
    let fixture = Fixture::new().await;
    fixture.engine.hold();
    let blocking = fixture
        .replica
        .mint(write(&fixture.kv("other"), "v"))
        .await
        .unwrap();
    let mut abandoned = Box::pin(fixture.replica.mint(write(&fixture.kv("k"), "abandoned")));
    begin(&mut abandoned).await;
    drop(abandoned);
    let deadline = Instant::now() + Duration::from_millis(1);
    let late = Write {
        deadline,
        ..write(&fixture.kv("k"), "late")
    };
    let mut late = Box::pin(fixture.replica.mint(late));
    begin(&mut late).await;
    tokio::time::sleep_until(deadline).await;
    fixture.engine.release();
    let refused = late.await.unwrap_err();
    assert_eq!(refused, ReplicaError::DeadlinePassed);
    assert_eq!(
        (refused.code(), refused.outcome()),
        (ErrorCode::Timeout, Outcome::Rejected)
    );
    blocking.durable.await.unwrap();
    assert_eq!(fixture.replica.read(&fixture.kv("k")).await, Ok(None));
}

#[tokio::test]
async fn after_a_failed_log_write_nothing_is_acknowledged_any_more() {
    let fixture = Fixture::new().await;
    let (key, other) = (fixture.kv("k"), fixture.kv("other"));
    fixture.put(&other, "before").await;
    let state = fixture.replica.read(&other).await.unwrap().unwrap();
    fixture.engine.fail_writes();
    let minted = fixture.replica.mint(write(&key, "v")).await.unwrap();
    let error = minted.durable.await.unwrap_err();
    assert_eq!(
        (error.code(), error.outcome()),
        (ErrorCode::Unavailable, Outcome::Unknown)
    );
    assert!(fixture.replica.fatal().await.contains("fsync failed"));
    let later = fixture.replica.mint(write(&key, "w")).await.unwrap_err();
    assert_eq!(later, ReplicaError::Stopped { applied: false });
    let later = fixture
        .replica
        .merge(merge(&key, &state))
        .await
        .unwrap_err();
    assert_eq!(later.outcome(), Outcome::Rejected);
    assert!(
        fixture.replica.stop().await.is_err(),
        "this is no clean end"
    );
}

#[tokio::test]
async fn a_merge_whose_log_write_failed_is_unknown() {
    let [fixture, other] = [Fixture::new().await, Fixture::new().await];
    let key = fixture.kv("k");
    other.put(&key, "v").await;
    let state = other.replica.read(&key).await.unwrap().unwrap();
    fixture.engine.fail_writes();
    let error = fixture
        .replica
        .merge(merge(&key, &state))
        .await
        .unwrap_err();
    assert!(matches!(error, ReplicaError::LogFailed(_)), "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown);
}
