//! What a restart keeps and what it distrusts.

use std::collections::HashSet;

use super::fixture::{Fixture, write};
use crate::replica::ReplicaError;

#[tokio::test]
async fn a_clean_restart_goes_on_under_the_same_epochs() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    fixture.put(&key, "v").await;
    let (before, generation) = (fixture.replica.vnodes(), fixture.replica.generation());
    fixture.replica.stop().await.unwrap();
    let refused = fixture.replica.mint(write(&key, "w")).await.unwrap_err();
    assert_eq!(refused, ReplicaError::Stopped { applied: false });
    let fixture = fixture.restart().await;
    assert_eq!(fixture.replica.vnodes(), before);
    assert_eq!(fixture.replica.generation(), generation + 1);
    assert_eq!(fixture.values(&key).await, ["v"]);
}

#[tokio::test]
async fn a_crash_ends_all_epochs_but_not_the_identity_of_a_vnode() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    fixture.put(&key, "v").await;
    let before = fixture.replica.vnodes();
    let fixture = fixture.restart().await;
    for (before, after) in before.iter().zip(fixture.replica.vnodes()) {
        assert_eq!(before.vnode_id, after.vnode_id);
        assert!(after.min_valid_epoch > before.min_valid_epoch);
    }
    let minted = fixture.replica.mint(write(&key, "w")).await.unwrap();
    let epochs: Vec<_> = minted
        .state
        .siblings()
        .iter()
        .map(|s| s.dot.actor.epoch)
        .collect();
    assert!(
        epochs[0] < epochs[1],
        "the new dot is of a fresh epoch: {epochs:?}"
    );
}

#[tokio::test]
async fn vnodes_have_different_identities() {
    let fixture = Fixture::new().await;
    let vnodes = fixture.replica.vnodes();
    let ids: HashSet<_> = vnodes.iter().map(|vnode| vnode.vnode_id).collect();
    assert_eq!((vnodes.len(), ids.len()), (8, 8));
}
