//! Damaged vnodes are rebuilt one by one, and all of them where there are too many.

use std::collections::BTreeMap;

use annulus_ring::PartitionId;

use super::cluster::{Ask, Cluster, TestNode};

fn ids(node: &TestNode) -> BTreeMap<PartitionId, u64> {
    let vnodes = node.replica.vnodes().into_iter();
    vnodes
        .map(|vnode| (vnode.partition, vnode.vnode_id.0))
        .collect()
}

/// How many vnodes of a node are other ones after so many were damaged, all of them whole.
async fn rebuilt_after(damaged: usize) -> (usize, usize) {
    let cluster = Cluster::start(3).await;
    let node = &cluster.nodes[0];
    for key in 0..20 {
        let ask = Ask::key(&format!("k{key}")).w("all");
        cluster.nodes[1].put(&ask, "value").await.unwrap();
    }
    let before = ids(node);
    for partition in before.keys().take(damaged) {
        node.replica.assume_damaged(*partition);
    }
    node.until_whole().await;
    for key in 0..20 {
        let ask = Ask::key(&format!("k{key}"));
        let copy = node.copy(&ask).await.unwrap();
        assert_eq!(copy.siblings().len(), 1, "{copy:?}");
    }
    let after = ids(node);
    let others = before
        .iter()
        .filter(|(partition, id)| after[*partition] != **id);
    (others.count(), before.len())
}

#[tokio::test]
async fn a_few_damaged_vnodes_are_rebuilt_and_the_others_stay() {
    let (rebuilt, all) = rebuilt_after(3).await;
    assert!(rebuilt == 3 && all > 3, "{rebuilt} of {all}");
}

#[tokio::test]
async fn with_more_than_three_the_whole_disk_counts_as_lost() {
    let (rebuilt, all) = rebuilt_after(4).await;
    assert!(rebuilt == all && all > 4, "{rebuilt} of {all}");
}
