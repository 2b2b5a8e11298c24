//! Owners with slow disks are asked last, and are asked.

use super::cluster::{Ask, Cluster, Fault};

#[tokio::test]
async fn a_node_with_a_slow_disk_lets_others_mint() {
    let cluster = Cluster::start(3).await;
    let [slow, other, _] = &cluster.nodes[..] else {
        panic!("there are three")
    };
    let ask = Ask::key("k");
    let written = slow.put(&ask, "usual").await.unwrap();
    assert!(slow.has_minted_in(&written.clock), "nothing is known yet");
    slow.disks.assume_slow(true, []);
    let written = slow.put(&Ask::key("k2"), "elsewhere").await.unwrap();
    assert!(!slow.has_minted_in(&written.clock));
    let written = other.put(&Ask::key("k2"), "at home").await.unwrap();
    assert!(other.has_minted_in(&written.clock));
}

#[tokio::test]
async fn of_two_other_owners_the_one_with_the_slow_disk_comes_last() {
    let cluster = Cluster::start(3).await;
    let (own, slow) = (&cluster.nodes[0], &cluster.nodes[1]);
    own.disks.assume_slow(true, [slow.id]);
    for number in 0..8 {
        let ask = Ask::key(&format!("k{number}"));
        let written = own.put(&ask, "value").await.unwrap();
        assert!(cluster.nodes[2].has_minted_in(&written.clock));
    }
}

#[tokio::test]
async fn a_slow_disk_is_better_than_none() {
    let cluster = Cluster::start(3).await;
    let (own, slow) = (&cluster.nodes[0], &cluster.nodes[1]);
    own.disks.assume_slow(true, [slow.id]);
    cluster.fail(2, Fault::Down);
    let written = own.put(&Ask::key("k"), "value").await.unwrap();
    assert!(own.has_minted_in(&written.clock));
}
