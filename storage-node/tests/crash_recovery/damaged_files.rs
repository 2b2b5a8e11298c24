//! A damaged data file is an error at the read that meets it, never an absent key.

use annulus_node::replica::ReplicaError;
use annulus_node::storage::{
    Engine as _, EngineError, KeyRange, RocksEngine, RocksOptions, ScanLimit, Space,
};
use annulus_proto::model::ErrorCode;
use bytes::Bytes;

use crate::files;
use crate::node::{TestNode, options};

/// Bytes that don't compress, so that the file is mostly them.
fn noise(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

async fn damaged(options: &RocksOptions, extension: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let node = TestNode::open_with(directory.path(), options)
        .await
        .unwrap();
    node.put("key", noise(200_000)).await.unwrap();
    node.replica.stop().await.unwrap();
    drop(node);
    let largest = files::with_extension(directory.path(), extension);
    let largest = largest
        .into_iter()
        .max_by_key(|path| files::length(path))
        .unwrap();
    assert!(files::length(&largest) > 200_000);
    files::flip(&largest, files::length(&largest) / 2);
    directory
}

#[tokio::test]
async fn a_flipped_byte_in_a_table_makes_its_keys_unavailable() {
    let directory = damaged(&options(), "sst").await;
    let node = TestNode::open(directory.path()).await.unwrap();
    let error = node.state("key").await.unwrap_err();
    assert!(matches!(error, ReplicaError::Corrupt { .. }), "{error}");
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(
        node.mint("key", noise(1)).await.is_err(),
        "and is not overwritten"
    );
    assert_eq!(node.state("other").await, Ok(None));
}

#[tokio::test]
async fn so_does_one_in_a_blob_file() {
    let options = RocksOptions {
        blob_min_bytes: Some(4096),
        ..options()
    };
    let directory = damaged(&options, "blob").await;
    let node = TestNode::open_with(directory.path(), &options)
        .await
        .unwrap();
    let error = node.state("key").await.unwrap_err();
    assert!(matches!(error, ReplicaError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_scan_over_damage_fails_instead_of_ending_early() {
    let directory = damaged(&options(), "sst").await;
    let engine = RocksEngine::open(&directory.path().join("rocksdb"), &options()).unwrap();
    let limit = ScanLimit {
        entries: 10,
        bytes: usize::MAX,
    };
    let scanned = engine.scan(Space::Data, &KeyRange::default(), limit);
    assert!(
        matches!(scanned, Err(EngineError::Corruption { .. })),
        "{scanned:?}"
    );
}
