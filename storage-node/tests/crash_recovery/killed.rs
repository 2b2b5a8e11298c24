//! A killed process, and one whose disk fails, lose nothing that they had acknowledged.

use crate::child::{Said, Writer, nth};
use crate::node::TestNode;

#[tokio::test]
async fn every_acknowledged_write_is_there_after_a_sigkill() {
    let directory = tempfile::tempdir().unwrap();
    let mut acked = Vec::new();
    let mut generation = 0;
    for (round, acks) in [400, 50, 1].into_iter().enumerate() {
        let first = 1_000_000 * round as u64;
        let mut writer = Writer::start(directory.path(), first);
        acked.extend(writer.by_ref().take(acks));
        writer.kill();
        // What it had said before it died was said, whether read yet or not.
        acked.extend(writer.by_ref());
        writer.wait();
        let node = TestNode::open(directory.path()).await.unwrap();
        assert!(!node.clean, "a killed process left no clean end");
        assert!(node.replica.generation() > generation);
        generation = node.replica.generation();
        for said in &acked {
            let Said::Acked(n) = said else {
                panic!("the disk failed")
            };
            let (key, value) = nth(*n);
            assert_eq!(node.value(&key).await, Some(value), "write {n}");
        }
        node.replica.stop().await.unwrap();
    }
    assert!(acked.len() >= 451);
}

#[tokio::test]
async fn a_node_whose_log_fails_stops_acknowledging_and_keeps_what_it_had() {
    let directory = tempfile::tempdir().unwrap();
    // The log is the first file to grow beyond 512 KiB.
    let mut writer = Writer::start_with_file_limit(directory.path(), 512);
    let said: Vec<_> = writer.by_ref().collect();
    writer.wait();
    let failed_at = said
        .iter()
        .position(|said| *said == Said::Fatal)
        .expect("the log fails");
    assert!(failed_at > 100, "{failed_at}");
    let node = TestNode::open(directory.path()).await.unwrap();
    for said in &said {
        if let Said::Acked(n) = said {
            let (key, value) = nth(*n);
            assert_eq!(node.value(&key).await, Some(value), "write {n}");
        }
    }
    node.replica.stop().await.unwrap();
}
