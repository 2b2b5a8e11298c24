//! A vnode that gave up its data: unavailable until it is whole, under a new id, over restarts too.

use annulus_causality::KeyState;
use annulus_proto::model::{ErrorCode, Outcome};

use super::fixture::{Fixture, merge, write};
use crate::replica::{KeyAddress, Page, Replica, ReplicaError};

/// The vnode gives up its data.
async fn give_up(replica: &Replica, key: &KeyAddress) {
    let incarnation = 1;
    replica.give_up(key.partition(), incarnation).await.unwrap();
}

async fn state_of(fixture: &Fixture, key: &KeyAddress) -> KeyState {
    fixture.replica.read(key).await.unwrap().unwrap()
}

fn id_of(replica: &Replica, key: &KeyAddress) -> u64 {
    let vnodes = replica.vnodes().into_iter();
    let mut ids = vnodes.filter(|vnode| vnode.partition == key.partition());
    ids.next().unwrap().vnode_id.0
}

#[tokio::test]
async fn damage_is_noted_and_the_vnode_goes_on_with_the_rest() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    fixture.put(&key, "v").await;
    assert!(fixture.replica.unsound().is_empty());
    fixture.engine.damage_the_only_record();
    fixture.replica.read(&key).await.unwrap_err();
    fixture.replica.attention().await;
    let unsound = fixture.replica.unsound();
    let [unsound] = &unsound[..] else {
        panic!("one vnode is damaged");
    };
    assert_eq!(
        (unsound.partition, &unsound.rebuilding),
        (key.partition(), &None)
    );
    fixture.put(&fixture.kv("other"), "fine").await;
}

#[tokio::test]
async fn what_was_given_up_is_unavailable_and_not_absent() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    fixture.put(&key, "v").await;
    let (state, before) = (
        state_of(&fixture, &key).await,
        id_of(&fixture.replica, &key),
    );
    give_up(&fixture.replica, &key).await;
    let replica = &fixture.replica;
    assert_ne!(id_of(replica, &key), before, "rule V1");
    let errors = [
        replica.read(&key).await.unwrap_err(),
        replica.digest(&key).await.unwrap_err(),
        replica.mint(write(&key, "new")).await.unwrap_err(),
        replica.digests(key.partition(), None).await.unwrap_err(),
        replica
            .states(key.partition(), None, 1000)
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, ReplicaError::Rebuilding { .. }), "{error}");
        assert_eq!(
            (error.code(), error.outcome()),
            (ErrorCode::Unavailable, Outcome::Rejected)
        );
    }
    replica
        .merge(merge(&key, &state))
        .await
        .expect("it is filled");
}

#[tokio::test]
async fn a_vnode_goes_on_being_filled_after_a_crash_and_then_serves() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    fixture.put(&key, "v").await;
    let state: KeyState = state_of(&fixture, &key).await;
    give_up(&fixture.replica, &key).await;
    let page = Page {
        vnode: annulus_causality::VnodeId(9),
        serving: true,
        last: Some(key.stored().clone()),
        keys: 1,
        bytes: 10,
    };
    let replica = &fixture.replica;
    replica.merge(merge(&key, &state)).await.unwrap();
    let from = annulus_ring::NodeId(uuid::Uuid::from_u128(3));
    let mut filled = replica.unsound()[0].rebuilding.clone().unwrap();
    assert!(filled.take(from, &page));
    let incarnation = replica.unsound()[0].incarnation;
    let kept = replica.fill(key.partition(), incarnation, filled.clone());
    kept.await.unwrap();
    let id = id_of(replica, &key);
    let fixture = fixture.restart().await;
    let replica = &fixture.replica;
    let unsound = replica.unsound();
    assert_eq!(unsound[0].rebuilding.as_ref(), Some(&filled));
    assert_eq!(id_of(replica, &key), id);
    assert!(replica.read(&key).await.is_err());
    replica
        .serve(key.partition(), unsound[0].incarnation)
        .await
        .unwrap();
    assert_eq!(fixture.values(&key).await, ["v"]);
    assert!(replica.unsound().is_empty());
    let fixture = fixture.restart().await;
    assert_eq!(fixture.values(&key).await, ["v"], "for good");
}

#[tokio::test]
async fn what_was_decided_for_an_earlier_memory_changes_nothing() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    fixture.put(&key, "v").await;
    give_up(&fixture.replica, &key).await;
    let late = fixture.replica.serve(key.partition(), 1).await;
    assert!(
        matches!(late, Err(ReplicaError::Rebuilding { .. })),
        "{late:?}"
    );
    let again = fixture.replica.give_up(key.partition(), 1).await;
    assert!(again.is_err(), "{again:?}");
    assert!(fixture.replica.read(&key).await.is_err());
}

#[tokio::test]
async fn a_suspended_vnode_keeps_its_data() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    fixture.put(&key, "v").await;
    fixture.replica.set_suspended(key.partition(), true);
    assert!(fixture.replica.read(&key).await.is_err());
    fixture.replica.set_suspended(key.partition(), false);
    assert_eq!(fixture.values(&key).await, ["v"]);
}

#[tokio::test]
async fn states_come_page_by_page_and_intact() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    let replica = &fixture.replica;
    let states = |after, bytes| replica.states(key.partition(), after, bytes);
    let empty = states(None, 1000).await.unwrap();
    assert!(empty.serving && empty.states.is_empty() && empty.last.is_none());
    fixture.put(&key, "v").await;
    let who = states(None, 0).await.unwrap();
    assert!(who.states.is_empty() && who.vnode == empty.vnode);
    let page = states(None, 1).await.unwrap();
    assert_eq!(page.states.len(), 1);
    assert_eq!(
        page.states[0].state,
        state_of(&fixture, &key).await.encode()
    );
    let end = states(page.last, 1000).await.unwrap();
    assert!(end.states.is_empty());
    fixture.engine.damage_the_only_record();
    let damaged = states(None, 1000).await;
    assert!(
        matches!(damaged, Err(ReplicaError::Corrupt { .. })),
        "{damaged:?}"
    );
}
