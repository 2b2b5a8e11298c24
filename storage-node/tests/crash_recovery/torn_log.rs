//! A log with a torn end, with lost acknowledged writes, and with damage in the middle.

use std::path::Path;

use annulus_node::storage::high_water::HighWaterError;
use annulus_node::storage::{
    Batch, DataDir, Engine as _, EngineError, Persistence, RocksEngine, Space, StoreError,
};
use bytes::Bytes;

use crate::files;
use crate::node::{TestNode, options};

const WRITES: u32 = 200;

/// A directory whose log holds writes that a crash left there, the last of them not synced.
fn crashed() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let data_dir =
        DataDir::open(directory.path(), &annulus_node::entropy::SystemRandomness).unwrap();
    let engine = RocksEngine::open(&data_dir.database(), &options()).unwrap();
    for n in 0..WRITES {
        put(&engine, n, Persistence::Synced);
    }
    directory
}

fn put(engine: &RocksEngine, n: u32, persistence: Persistence) {
    let mut batch = Batch::new();
    batch.put(Space::Data, Bytes::from(format!("{n:05}")), vec![b'v'; 500]);
    engine.write(&batch, persistence).unwrap();
}

fn open(directory: &Path) -> Result<RocksEngine, EngineError> {
    RocksEngine::open(&directory.join("rocksdb"), &options())
}

fn holds(engine: &RocksEngine, n: u32) -> bool {
    engine
        .get(Space::Data, format!("{n:05}").as_bytes())
        .unwrap()
        .is_some()
}

#[test]
fn a_torn_last_record_is_a_normal_crash() {
    for cut in [1, 7, 250, 499] {
        let directory = crashed();
        files::cut(&files::last_log(directory.path()), cut);
        let engine = open(directory.path()).unwrap();
        assert!(
            (0..WRITES - 1).all(|n| holds(&engine, n)),
            "{cut} bytes: all but the last"
        );
        assert!(
            !holds(&engine, WRITES - 1),
            "{cut} bytes: the torn one is gone as a whole"
        );
        put(&engine, WRITES, Persistence::Synced);
        drop(engine);
        assert!(
            holds(&open(directory.path()).unwrap(), WRITES),
            "the log goes on"
        );
    }
}

#[test]
fn damage_in_the_middle_of_the_log_is_not_skipped() {
    let directory = crashed();
    let log = files::last_log(directory.path());
    files::flip(&log, files::length(&log) / 2);
    let refused = open(directory.path()).err().expect("refuses to open");
    let EngineError::Corruption { operation, detail } = &refused else {
        panic!("{refused}")
    };
    assert_eq!(*operation, "open the database");
    assert!(
        refused.to_string().contains("damaged") && !detail.is_empty(),
        "{refused}"
    );
}

#[tokio::test]
async fn a_log_that_lost_acknowledged_writes_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let _running = written(directory.path()).await;
    // The mark lags by a tenth of a second: until then the loss of the tail can't be told.
    let refused = loop {
        let crashed = files::copy(directory.path());
        // The database alone would open: to RocksDB this looks like a torn write.
        files::cut(&files::last_log(crashed.path()), 100);
        match TestNode::open(crashed.path()).await {
            Ok(node) => node.replica.stop().await.unwrap(),
            Err(refused) => break refused,
        }
    };
    let StoreError::HighWater(HighWaterError::DataLost { marked, found }) = refused else {
        panic!("{refused}")
    };
    assert!(marked > found);
    assert!(
        refused.to_string().contains("empty the data directory"),
        "says what to do"
    );
}

#[tokio::test]
async fn a_torn_write_that_nobody_was_promised_is_no_loss() {
    let directory = tempfile::tempdir().unwrap();
    let _running = written(directory.path()).await;
    let crashed = files::copy(directory.path());
    let engine = open(crashed.path()).unwrap();
    put(&engine, 1, Persistence::Buffered);
    drop(engine);
    files::cut(&files::last_log(crashed.path()), 100);
    let node = TestNode::open(crashed.path()).await.unwrap();
    assert!(!node.clean);
    for n in 0..20 {
        assert!(node.value(&format!("key-{n}")).await.is_some(), "key-{n}");
    }
}

/// A running node that has acknowledged some writes.
async fn written(directory: &Path) -> TestNode {
    let node = TestNode::open(directory).await.unwrap();
    for n in 0..20 {
        node.put(&format!("key-{n}"), vec![b'v'; 500].into())
            .await
            .unwrap();
    }
    node
}
