use annulus_proto::model::{ErrorCode, Outcome};
use annulus_ring::{NodeIndex, Placement, RingEpoch};

use super::cluster::{Ask, Cluster, Fault, TestNode};

fn epoch_of(node: &TestNode) -> RingEpoch {
    node.placement.current().unwrap().epoch()
}

#[tokio::test]
async fn before_the_first_placement_requests_are_rejected() {
    let cluster = Cluster::start_without_placement(3).await;
    let ask = Ask::key("k");
    let write = cluster.nodes[0].put(&ask, "value").await.unwrap_err();
    let read = cluster.nodes[0].get(&ask).await.unwrap_err();
    for error in [write, read] {
        assert_eq!(
            (error.code, error.outcome),
            (ErrorCode::Unavailable, Outcome::Rejected)
        );
    }
}

#[tokio::test]
async fn a_node_with_an_old_placement_learns_the_new_one_from_whom_it_asks() {
    let cluster = Cluster::start(5).await;
    // They have not seen epoch 2, and can't tell what it changed.
    for node in &cluster.nodes[1..] {
        node.placement.install(cluster.placement(3)).await.unwrap();
    }
    let old = &cluster.nodes[0];
    old.put(&Ask::key("k"), "value").await.unwrap();
    assert_eq!(epoch_of(old), RingEpoch(3));
    assert_eq!(old.values(&Ask::key("k")).await, ["value"]);
}

#[tokio::test]
async fn nodes_with_an_old_placement_or_none_are_told_the_new_one_by_who_asks_them() {
    let cluster = Cluster::start_without_placement(5).await;
    cluster.nodes[1]
        .placement
        .install(cluster.placement(1))
        .await
        .unwrap();
    let new = &cluster.nodes[0];
    new.placement.install(cluster.placement(2)).await.unwrap();
    new.until_whole().await;
    let ask = Ask::key("k").w("all").r("all");
    let (owners, _) = cluster.owners(&ask);
    new.put(&ask, "value").await.unwrap();
    for owner in &owners {
        cluster.nodes[*owner].until_whole().await;
    }
    assert_eq!(new.values(&ask).await, ["value"]);
    for owner in owners {
        assert_eq!(epoch_of(&cluster.nodes[owner]), RingEpoch(2));
    }
}

#[tokio::test]
async fn a_write_that_meets_a_new_placement_goes_on_with_its_dot_to_the_new_owners() {
    let cluster = Cluster::start(4).await;
    let ask = Ask::key("k").w("all");
    let (owners, others) = cluster.owners(&ask);
    // At epoch 2 the last owner's place is taken by the node that owned nothing of the key.
    let mut document = cluster.document(2);
    let last = NodeIndex(u16::try_from(owners[2]).unwrap());
    let newcomer = NodeIndex(u16::try_from(others[0]).unwrap());
    let partition = usize::from(cluster.placement(1).locate("kv", b"k").0.0);
    for owner in &mut document.owners[partition * 3..partition * 3 + 3] {
        if *owner == last {
            *owner = newcomer;
        }
    }
    let newer = Placement::try_from(document).unwrap();
    cluster.nodes[owners[1]]
        .placement
        .install(newer)
        .await
        .unwrap();
    let minting = &cluster.nodes[owners[0]];
    minting.put(&ask, "value").await.unwrap();
    assert_eq!(epoch_of(minting), RingEpoch(2));
    let new_owners = [owners[0], owners[1], others[0]];
    cluster.nodes[others[0]].until_whole().await;
    let mut dots = Vec::new();
    for owner in new_owners {
        let copy = cluster.nodes[owner].copy(&ask).await.unwrap();
        dots.extend(copy.siblings().iter().map(|sibling| sibling.dot));
    }
    assert!(
        dots.len() == 3 && dots.iter().all(|dot| *dot == dots[0]),
        "one dot: {dots:?}"
    );
    // The read under the new placement does without the node that left.
    cluster.fail(owners[2], Fault::Down);
    assert_eq!(
        cluster.nodes[owners[1]].values(&ask.r("all")).await,
        ["value"]
    );
}

#[tokio::test]
async fn two_placements_of_one_epoch_are_refused() {
    let cluster = Cluster::start(3).await;
    let mut document = cluster.document(1);
    document.nodes[0].name = "another".into();
    let other = Placement::try_from(document).unwrap();
    assert!(cluster.nodes[0].placement.install(other).await.is_err());
}
