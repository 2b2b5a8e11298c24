//! What goes, what stays, and what has to be on disk before that is decided.

use std::time::Duration;

use annulus_causality::{KeyState, VnodeId};
use annulus_proto::model::TimeToLive;
use annulus_ring::RingEpoch;
use tokio::time::Instant;

use super::fixture::{EPOCH, Fixture, NOW_MS, merge, soon, write};
use crate::replica::{
    KeyAddress, Merge, Reclaim, ReclaimStep, Reclaimed, ReplicaError, TombstoneFound, Write,
};
use crate::storage::ScanLimit;

const DAY_MS: u64 = 24 * 3600 * 1000;

const ALL: ScanLimit = ScanLimit {
    entries: usize::MAX,
    bytes: usize::MAX,
};

fn reclaim(address: &KeyAddress, step: ReclaimStep) -> Reclaim {
    Reclaim {
        address: address.clone(),
        step,
        deadline: soon(),
        fence: EPOCH,
    }
}

impl Fixture {
    /// Writes a value and deletes it; the tombstone's state.
    async fn deleted(&self, address: &KeyAddress) -> KeyState {
        let context = self.put(address, "v").await;
        let delete = Write {
            content: None,
            context,
            ..write(address, "")
        };
        let minted = self.replica.mint(delete).await.unwrap();
        minted.durable.await.unwrap();
        self.replica.read(address).await.unwrap().unwrap()
    }

    async fn step(&self, address: &KeyAddress, step: ReclaimStep) -> Reclaimed {
        self.replica.reclaim(reclaim(address, step)).await.unwrap()
    }

    fn vnode(&self, address: &KeyAddress) -> VnodeId {
        let vnodes = self.replica.vnodes();
        let own = vnodes
            .iter()
            .find(|vnode| vnode.partition == address.partition());
        own.unwrap().vnode_id
    }
}

#[tokio::test]
async fn a_tombstone_goes_in_two_steps_and_the_key_can_be_written_again() {
    let fixture = Fixture::new().await;
    let keys = [fixture.kv("k"), fixture.data("k"), fixture.fast("k")];
    // Stamps never go back: each key begins later than the one before it ended.
    for (number, key) in (0..).zip(keys) {
        let begins_ms = NOW_MS + 2 * number * DAY_MS;
        fixture.clock.set_wall_ms(begins_ms);
        let digest = fixture.deleted(&key).await.record_digest();
        let vnode = fixture.vnode(&key);
        let confirm = ReclaimStep::Confirm { digest };
        assert_eq!(
            fixture.step(&key, confirm).await,
            Reclaimed::Other,
            "it is young"
        );
        fixture.clock.set_wall_ms(begins_ms + DAY_MS + 1);
        assert_eq!(fixture.step(&key, confirm).await, Reclaimed::Same { vnode });
        let remove = ReclaimStep::Remove { digest, vnode };
        assert_eq!(fixture.step(&key, remove).await, Reclaimed::Same { vnode });
        assert_eq!(fixture.replica.read(&key).await, Ok(None));
        assert_eq!(
            fixture.step(&key, remove).await,
            Reclaimed::Absent { vnode }
        );
        fixture.put(&key, "again").await;
        assert_eq!(fixture.values(&key).await, ["again"]);
    }
}

#[tokio::test]
async fn what_has_changed_since_it_was_confirmed_stays() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    let digest = fixture.deleted(&key).await.record_digest();
    let vnode = fixture.vnode(&key);
    fixture.clock.set_wall_ms(NOW_MS + DAY_MS + 1);
    let confirm = ReclaimStep::Confirm { digest };
    assert_eq!(fixture.step(&key, confirm).await, Reclaimed::Same { vnode });
    fixture.put(&key, "new").await;
    let remove = ReclaimStep::Remove { digest, vnode };
    assert_eq!(fixture.step(&key, remove).await, Reclaimed::Other);
    assert_eq!(fixture.values(&key).await, ["new"]);
}

#[tokio::test]
async fn in_one_group_a_write_after_a_removal_finds_nothing_and_one_before_it_is_found() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.kv("first"), fixture.kv("second"));
    let digests = [
        fixture.deleted(&first).await.record_digest(),
        fixture.deleted(&second).await.record_digest(),
    ];
    fixture.clock.set_wall_ms(NOW_MS + DAY_MS + 1);
    let remove = |key: &KeyAddress, digest| {
        let vnode = fixture.vnode(key);
        let step = ReclaimStep::Remove { digest, vnode };
        fixture.replica.reclaim(reclaim(key, step))
    };
    fixture.engine.hold();
    let held_up = fixture
        .replica
        .mint(write(&fixture.kv("other"), "v"))
        .await
        .unwrap();
    let (mut gone, mut kept) = (
        Box::pin(remove(&first, digests[0])),
        Box::pin(fixture.replica.mint(write(&second, "before"))),
    );
    assert!(futures::poll!(&mut gone).is_pending());
    assert!(futures::poll!(&mut kept).is_pending());
    let (mut after, mut changed) = (
        Box::pin(fixture.replica.mint(write(&first, "after"))),
        Box::pin(remove(&second, digests[1])),
    );
    assert!(futures::poll!(&mut after).is_pending());
    assert!(futures::poll!(&mut changed).is_pending());
    fixture.engine.release();
    held_up.durable.await.unwrap();
    let same = Reclaimed::Same {
        vnode: fixture.vnode(&first),
    };
    assert_eq!(gone.await, Ok(same));
    let after = after.await.unwrap();
    assert_eq!(after.state.siblings().len(), 1, "the tombstone was gone");
    after.durable.await.unwrap();
    kept.await.unwrap().durable.await.unwrap();
    assert_eq!(changed.await, Ok(Reclaimed::Other));
    assert_eq!(fixture.values(&first).await, ["after"]);
    assert_eq!(fixture.values(&second).await, ["before"]);
}

#[tokio::test]
async fn what_is_confirmed_is_on_disk_whatever_the_keyspace_asks_for() {
    let fixture = Fixture::new().await;
    let key = fixture.fast("k");
    let digest = fixture.deleted(&key).await.record_digest();
    fixture.clock.set_wall_ms(NOW_MS + DAY_MS + 1);
    let before = fixture.engine.syncs();
    fixture.step(&key, ReclaimStep::Confirm { digest }).await;
    assert_eq!(fixture.engine.syncs(), before + 1);
    fixture.engine.fail_writes();
    let confirm = reclaim(&key, ReclaimStep::Confirm { digest });
    let failed = fixture.replica.reclaim(confirm).await;
    assert!(
        matches!(failed, Err(ReplicaError::LogFailed(_))),
        "{failed:?}"
    );
}

#[tokio::test]
async fn an_older_placement_or_a_passed_deadline_removes_nothing() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    let digest = fixture.deleted(&key).await.record_digest();
    let vnode = fixture.vnode(&key);
    fixture.clock.set_wall_ms(NOW_MS + DAY_MS + 1);
    let remove = reclaim(&key, ReclaimStep::Remove { digest, vnode });
    let stale = Reclaim {
        fence: RingEpoch(EPOCH.0 - 1),
        ..remove.clone()
    };
    let late = Reclaim {
        deadline: Instant::now(),
        ..remove
    };
    let refused = fixture.replica.reclaim(stale).await;
    assert!(
        matches!(refused, Err(ReplicaError::StaleEpoch { .. })),
        "{refused:?}"
    );
    assert_eq!(
        fixture.replica.reclaim(late).await,
        Err(ReplicaError::DeadlinePassed)
    );
    assert!(fixture.replica.read(&key).await.unwrap().is_some());
}

#[tokio::test]
async fn a_merge_that_waited_past_its_deadline_is_refused() {
    let fixture = Fixture::new().await;
    let (key, other) = (fixture.kv("k"), fixture.kv("other"));
    let state = fixture.deleted(&key).await;
    // The node stands still in the middle of a write, and the merge waits behind it.
    fixture.engine.hold();
    let held_up = fixture.replica.mint(write(&other, "v")).await.unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    let late = fixture.kv("late");
    let mut merged = Box::pin(fixture.replica.merge(Merge {
        deadline,
        ..merge(&late, &state)
    }));
    assert!(futures::poll!(&mut merged).is_pending());
    tokio::time::sleep_until(deadline).await;
    fixture.engine.release();
    assert_eq!(merged.await, Err(ReplicaError::DeadlinePassed));
    held_up.durable.await.unwrap();
    assert_eq!(fixture.replica.read(&late).await, Ok(None));
}

#[tokio::test]
async fn an_expired_value_leaves_its_dot_and_a_late_copy_does_not_bring_it_back() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    let ttl = Some(TimeToLive::from_seconds(60).unwrap());
    let minted = fixture.replica.mint(Write {
        ttl,
        ..write(&key, "value")
    });
    let minted = minted.await.unwrap();
    let whole = KeyState::clone(&minted.state);
    minted.durable.await.unwrap();
    let drop = ReclaimStep::DropExpired;
    let nothing = Reclaimed::Dropped {
        values: 0,
        bytes: 0,
    };
    fixture.clock.set_wall_ms(NOW_MS + 61_000);
    assert_eq!(fixture.step(&key, drop).await, nothing, "clocks may differ");
    fixture.clock.set_wall_ms(NOW_MS + 60_000 + 600_001);
    let (values, bytes) = (1, 5);
    let dropped = Reclaimed::Dropped { values, bytes };
    assert_eq!(fixture.step(&key, drop).await, dropped);
    let kept = fixture.replica.read(&key).await.unwrap().unwrap();
    assert_eq!((kept.digest(), kept.value_bytes()), (whole.digest(), 0));
    let merged = fixture.replica.merge(merge(&key, &whole)).await.unwrap();
    assert!(!merged.changed && !merged.differs);
    assert_eq!(fixture.replica.read(&key).await, Ok(Some(kept)));
    assert_eq!(fixture.step(&key, drop).await, nothing);
}

#[tokio::test]
async fn a_scan_finds_what_can_be_reclaimed_page_by_page() {
    let fixture = Fixture::new().await;
    let partition = fixture.kv("deleted").partition();
    let mut deleted = 0;
    for number in 0..40 {
        let key = fixture.kv(&format!("k{number}"));
        if number % 2 == 0 {
            fixture.deleted(&key).await;
            deleted += usize::from(key.partition() == partition);
        } else {
            fixture.put(&key, "live").await;
        }
    }
    let (mut found, mut pages, mut cursor) = (0, 0, None);
    loop {
        let limit = ScanLimit { entries: 2, ..ALL };
        let page = fixture
            .replica
            .scan_for_reclaiming(partition, cursor, limit, NOW_MS);
        let page = page.await.unwrap();
        found += page.findings.len();
        pages += 1;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, deleted);
    assert!(deleted == 0 || pages > 1, "{pages} pages");
}

#[tokio::test]
async fn a_damaged_record_is_told_from_an_absent_one_and_does_not_stop_the_others() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    let digest = fixture.deleted(&key).await.record_digest();
    fixture.engine.damage_the_only_record();
    let step = ReclaimStep::Confirm { digest };
    let steps = vec![reclaim(&key, step), reclaim(&fixture.kv("none"), step)];
    let found = fixture.replica.reclaim_all(steps).await.unwrap().found;
    assert_eq!(found, [TombstoneFound::Damaged, TombstoneFound::Absent]);
}

#[tokio::test]
async fn a_removal_takes_the_key_out_of_the_hash_tree_in_the_same_write() {
    let fixture = Fixture::new().await;
    let (gone, dropped, kept) = (
        fixture.kv("gone"),
        fixture.kv("dropped"),
        fixture.fast("kept"),
    );
    fixture.put(&kept, "value").await;
    let mut expiring = write(&dropped, "value");
    expiring.ttl = Some(TimeToLive::from_seconds(1).unwrap());
    let minted = fixture.replica.mint(expiring).await.unwrap();
    minted.durable.await.unwrap();
    let digest = fixture.deleted(&gone).await.record_digest();
    assert_eq!(fixture.check_trees().await, 3, "and is in memory from here");
    fixture.clock.set_wall_ms(NOW_MS + DAY_MS / 2);
    fixture.step(&dropped, ReclaimStep::DropExpired).await;
    assert_eq!(fixture.check_trees().await, 3, "expiry changes no hash");
    fixture.clock.set_wall_ms(NOW_MS + DAY_MS + 1);
    let vnode = fixture.vnode(&gone);
    let remove = ReclaimStep::Remove { digest, vnode };
    assert_eq!(fixture.step(&gone, remove).await, Reclaimed::Same { vnode });
    assert_eq!(fixture.check_trees().await, 2);
    fixture.put(&gone, "again").await;
    assert_eq!(fixture.check_trees().await, 3);
}

#[tokio::test]
async fn a_vnode_that_lacks_its_data_confirms_nothing_and_under_its_new_id_removes_nothing() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    let state = fixture.deleted(&key).await;
    fixture.clock.set_wall_ms(NOW_MS + DAY_MS + 1);
    let digest = state.record_digest();
    let confirm = ReclaimStep::Confirm { digest };
    let before = fixture.vnode(&key);
    let vnode = before;
    assert_eq!(fixture.step(&key, confirm).await, Reclaimed::Same { vnode });
    let replica = &fixture.replica;
    replica.give_up(key.partition(), 1).await.unwrap();
    replica.merge(merge(&key, &state)).await.expect("filled");
    let remove = ReclaimStep::Remove { digest, vnode };
    for step in [confirm, remove, ReclaimStep::DropExpired] {
        let refused = replica.reclaim(reclaim(&key, step)).await;
        assert!(
            matches!(refused, Err(ReplicaError::Rebuilding { .. })),
            "{refused:?}"
        );
        let all = replica.reclaim_all(vec![reclaim(&key, step)]).await;
        assert!(all.is_err(), "{all:?}");
    }
    let incarnation = replica.unsound()[0].incarnation;
    replica.serve(key.partition(), incarnation).await.unwrap();
    assert_eq!(fixture.step(&key, remove).await, Reclaimed::Other);
    let vnode = fixture.vnode(&key);
    assert_ne!(vnode, before);
    assert_eq!(fixture.step(&key, confirm).await, Reclaimed::Same { vnode });
}

#[tokio::test]
async fn damage_that_the_scan_meets_is_noted() {
    let fixture = Fixture::new().await;
    let key = fixture.kv("k");
    fixture.put(&key, "v").await;
    fixture.engine.damage_the_only_record();
    let scan = fixture
        .replica
        .scan_for_reclaiming(key.partition(), None, ALL, NOW_MS);
    assert_eq!(scan.await.unwrap().damaged, 1);
    assert_eq!(fixture.replica.unsound().len(), 1);
}
