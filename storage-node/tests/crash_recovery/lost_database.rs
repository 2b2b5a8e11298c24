//! A database that can't be used any more is set aside; what takes its place knows that data is missing.

use std::path::Path;
use std::time::Duration;

use annulus_node::entropy::SystemRandomness;
use annulus_node::storage::{DataDir, Store, StoreError, lost_database};
use bytes::Bytes;
use uuid::Uuid;

use crate::files;
use crate::node::{TestNode, options};

const NOW_MS: u64 = 1_800_000_000_000;

/// The data of a node of a cluster that was killed, with a log of several writes.
async fn killed() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let node = TestNode::open(directory.path()).await.unwrap();
    for n in 0..50 {
        let value = Bytes::from(vec![b'v'; 500]);
        node.put(&format!("key-{n}"), value).await.unwrap();
    }
    until_marked(directory.path(), 50).await;
    let copied = files::copy(directory.path());
    let data_dir = DataDir::open(copied.path(), &SystemRandomness).unwrap();
    data_dir.join_cluster(Uuid::from_u128(9)).unwrap();
    copied
}

/// Waits until the high-water mark is so far.
async fn until_marked(directory: &Path, sequence: u64) {
    let marked = || {
        let mark = std::fs::read(directory.join("high-water")).unwrap();
        u64::from_le_bytes(mark[..8].try_into().unwrap())
    };
    while marked() < sequence {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await; // paced: between two looks
    }
}

fn open(
    directory: &Path,
    options: &annulus_node::storage::RocksOptions,
) -> Result<Store, StoreError> {
    let data_dir = DataDir::open(directory, &SystemRandomness).unwrap();
    lost_database::open_or_replace(&data_dir, options, NOW_MS)
}

#[tokio::test]
async fn a_sound_database_stays() {
    let directory = killed().await;
    let store = open(directory.path(), &options()).unwrap();
    assert!(!store.recovered().data_lost);
    let aside = lost_database::set_aside_before(directory.path()).unwrap();
    assert!(aside.is_empty(), "{aside:?}");
}

#[tokio::test]
async fn a_damaged_log_costs_the_database_and_that_is_not_forgotten() {
    let directory = killed().await;
    let log = files::last_log(directory.path());
    files::flip(&log, files::length(&log) / 2);
    for _ in 0..2 {
        let store = open(directory.path(), &options()).unwrap();
        assert!(store.recovered().data_lost);
        let aside = lost_database::set_aside_before(directory.path()).unwrap();
        assert_eq!(aside.len(), 1, "once: {aside:?}");
        let name = aside[0].file_name().unwrap().to_str().unwrap();
        assert_eq!(name, "rocksdb.damaged-2027-01-15T080000Z");
    }
}

#[tokio::test]
async fn lost_acknowledged_writes_cost_the_database() {
    let directory = killed().await;
    let log = files::last_log(directory.path());
    files::cut(&log, files::length(&log) / 2);
    assert!(
        open(directory.path(), &options())
            .unwrap()
            .recovered()
            .data_lost
    );
}

#[tokio::test]
async fn a_note_costs_the_database_once() {
    let directory = killed().await;
    let data_dir = DataDir::open(directory.path(), &SystemRandomness).unwrap();
    lost_database::note(&data_dir, "a compaction met damage").unwrap();
    drop(data_dir);
    let first = open(directory.path(), &options()).unwrap().recovered();
    assert!(first.data_lost && first.generation == 1);
    let second = open(directory.path(), &options()).unwrap().recovered();
    assert!(second.data_lost && second.generation == 2);
}

#[tokio::test]
async fn a_directory_of_no_cluster_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let node = TestNode::open(directory.path()).await.unwrap();
    node.put("key", Bytes::from(vec![b'v'; 5000]))
        .await
        .unwrap();
    let copied = files::copy(directory.path());
    let log = files::last_log(copied.path());
    files::flip(&log, 100);
    assert!(open(copied.path(), &options()).is_err());
    assert_eq!(
        lost_database::set_aside_before(copied.path())
            .unwrap()
            .len(),
        0
    );
}

#[tokio::test]
async fn what_was_set_aside_goes_after_a_week() {
    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
    const WEEK_MS: u64 = 7 * 24 * 3600 * 1000;
    let directory = killed().await;
    let data_dir = DataDir::open(directory.path(), &SystemRandomness).unwrap();
    lost_database::note(&data_dir, "a compaction met damage").unwrap();
    drop(data_dir);
    drop(open(directory.path(), &options()).unwrap());
    std::fs::create_dir(directory.path().join("rocksdb.damaged-by-hand")).unwrap();
    let remove = |now_ms| lost_database::remove_older(directory.path(), now_ms, WEEK).unwrap();
    let left = || {
        lost_database::set_aside_before(directory.path())
            .unwrap()
            .len()
    };
    assert_eq!((remove(NOW_MS + WEEK_MS - 1), left()), (0, 2));
    assert_eq!((remove(0), left()), (0, 2), "a clock that went back");
    assert_eq!(
        (remove(NOW_MS + WEEK_MS), left()),
        (1, 1),
        "what has no date stays"
    );
    let store = open(directory.path(), &options()).unwrap();
    assert!(store.recovered().data_lost, "the database itself stays");
}
