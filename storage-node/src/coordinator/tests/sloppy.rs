//! Writes for which other nodes stand in.

use annulus_proto::model::{ErrorCode, Outcome};

use super::cluster::{Ask, Cluster, Fault};
use super::hints::until;

/// Five nodes, a key, its owners, and the others.
async fn with_owners_down(down: usize) -> (Cluster, Ask, Vec<usize>, Vec<usize>) {
    let cluster = Cluster::start(5).await;
    let ask = Ask::key("k");
    let (owners, others) = cluster.owners(&ask);
    for owner in owners.iter().rev().take(down) {
        cluster.fail(*owner, Fault::Down);
    }
    (cluster, ask, owners, others)
}

fn sloppy_kept(cluster: &Cluster, nodes: &[usize]) -> u64 {
    let kept = nodes
        .iter()
        .flat_map(|node| cluster.nodes[*node].hints.backlog());
    kept.map(|(_, kept)| kept.sloppy).sum()
}

#[tokio::test]
async fn other_nodes_stand_in_only_where_request_and_keyspace_say_so() {
    let (cluster, ask, owners, others) = with_owners_down(2).await;
    let node = &cluster.nodes[owners[0]];
    let strict = node.put(&ask, "strict").await.unwrap_err();
    assert_eq!(
        (strict.code, strict.outcome),
        (ErrorCode::QuorumUnavailable, Outcome::Rejected)
    );
    let forbidden = node
        .put(&ask.clone().lww().sloppy(), "v")
        .await
        .unwrap_err();
    assert_eq!(
        (forbidden.code, forbidden.outcome),
        (ErrorCode::InvalidArgument, Outcome::Rejected)
    );

    let written = node.put(&ask.clone().sloppy(), "sloppy").await.unwrap();
    assert!(written.sloppy, "the answer says so");
    assert!(sloppy_kept(&cluster, &others) >= 1);

    cluster.heal();
    for other in &others {
        cluster.nodes[*other].deliver_hints();
    }
    until("all is delivered", async || {
        sloppy_kept(&cluster, &others) == 0
    })
    .await;
    let minted = node.copy(&ask).await;
    for owner in owners {
        assert_eq!(cluster.nodes[owner].copy(&ask).await, minted);
    }
}

#[tokio::test]
async fn a_write_that_its_owners_take_is_not_sloppy() {
    for down in [0, 1] {
        let (cluster, ask, owners, others) = with_owners_down(down).await;
        if down > 0 {
            // Else it would count who answers first, the other owner or the one that stands in.
            for other in &others {
                cluster.fail(*other, Fault::Down);
            }
        }
        let written = cluster.nodes[owners[0]].put(&ask.sloppy(), "v").await;
        assert!(!written.unwrap().sloppy, "two owners hold it");
        assert_eq!(sloppy_kept(&cluster, &others), 0);
    }
}

#[tokio::test]
async fn any_node_may_be_asked_and_only_an_owner_mints() {
    let (cluster, ask, owners, others) = with_owners_down(2).await;
    let ask = ask.sloppy();
    assert!(
        cluster.nodes[others[0]]
            .put(&ask, "v")
            .await
            .unwrap()
            .sloppy
    );
    cluster.fail(owners[0], Fault::Down);
    let error = cluster.nodes[others[0]].put(&ask, "w").await.unwrap_err();
    assert_eq!(
        (error.code, error.outcome),
        (ErrorCode::QuorumUnavailable, Outcome::Rejected)
    );
}

#[tokio::test]
async fn a_delete_can_be_sloppy_too() {
    let (cluster, ask, owners, _) = with_owners_down(2).await;
    let node = &cluster.nodes[owners[0]];
    let written = node.put(&ask.clone().sloppy(), "v").await.unwrap();
    let deleted = node
        .delete(&ask.clone().context(&written.clock).sloppy())
        .await
        .unwrap();
    assert!(deleted.existed && deleted.sloppy);
    assert!(node.values(&ask.r("one")).await.is_empty());
}

#[tokio::test]
async fn without_room_a_sloppy_write_is_refused_before_anything_happens() {
    let (cluster, ask, owners, others) = with_owners_down(2).await;
    let node = &cluster.nodes[owners[0]];
    let large = "x".repeat(2000);
    let error = node.put(&ask.clone().sloppy(), &large).await.unwrap_err();
    assert_eq!(
        (error.code, error.outcome),
        (ErrorCode::QuorumUnavailable, Outcome::Rejected)
    );
    assert!(node.copy(&ask).await.is_none());
    assert_eq!(sloppy_kept(&cluster, &others), 0);
}
