//! The minting rules, one sentence a test. What they are good for together: `tests/minting_model.rs`.

use bytes::Bytes;

use super::*;
use crate::dot::VnodeId;

const ME: VnodeId = VnodeId(1);
const PEER: VnodeId = VnodeId(2);

fn vnode(id: VnodeId) -> VnodeClock {
    leased(VnodeClock::create(id))
}

fn leased(mut clock: VnodeClock) -> VnodeClock {
    let lease = clock.needs_lease().expect("a start needs a lease");
    clock.lease_granted(&lease);
    clock
}

fn write(stamp: u64) -> NewWrite {
    NewWrite {
        content: Content::Value(Bytes::from_static(b"value")),
        stamp: HlcStamp(stamp),
        expires_at_ms: None,
        request_id: None,
    }
}

fn request(stamp: u64, sequence: u64) -> NewWrite {
    NewWrite {
        request_id: Some(RequestId {
            client: 9,
            sequence,
        }),
        ..write(stamp)
    }
}

/// Mints in a keyspace that keeps siblings.
fn mint(
    clock: &mut VnodeClock,
    local: Option<&KeyState>,
    context: &VersionVector,
    write: NewWrite,
) -> Minted {
    clock
        .mint(local, context, write, ConflictPolicy::Siblings)
        .expect("within all limits")
}

fn blind(clock: &mut VnodeClock, local: Option<&KeyState>, stamp: u64) -> Minted {
    mint(clock, local, &VersionVector::new(), write(stamp))
}

fn receive(clock: &mut VnodeClock, local: Option<&KeyState>, incoming: &KeyState) -> Received {
    clock
        .receive(local, incoming.clone(), ConflictPolicy::Siblings)
        .expect("the lease is fresh")
}

fn dots(state: &KeyState) -> Vec<Dot> {
    state.siblings().iter().map(|sibling| sibling.dot).collect()
}

#[test]
fn own_events_go_on_counting_in_their_epoch() {
    let mut me = vnode(ME);
    let first = blind(&mut me, None, 1);
    let context = first.state.context();
    let second = mint(&mut me, Some(&first.state), &context, write(2));
    assert_eq!(first.dot.counter, 1);
    assert_eq!(second.dot, first.dot.actor.dot(2));
    assert_eq!(dots(&second.state), [second.dot]);
}

/// What the client of a write is told to have seen: what it said, and its own write.
fn told_to_writer(context: &VersionVector, minted: &Minted) -> VersionVector {
    let mut told = context.clone();
    told.insert(minted.dot);
    told
}

#[test]
fn clock_of_an_own_write_covers_no_sibling_of_others() {
    let mut me = vnode(ME);
    let of_another = blind(&mut me, None, 1);
    let mine = blind(&mut me, Some(&of_another.state), 2);
    let told = told_to_writer(&VersionVector::new(), &mine);
    assert!(!told.covers(of_another.dot));
    let next = mint(&mut me, Some(&mine.state), &told, write(3));
    assert_eq!(dots(&next.state), [of_another.dot, next.dot]);
}

#[test]
fn clock_of_one_sibling_covers_no_other() {
    let mut me = vnode(ME);
    let mut state = blind(&mut me, None, 1).state;
    for stamp in 2..10 {
        state = blind(&mut me, Some(&state), stamp).state;
    }
    for one in dots(&state) {
        let clock = VersionVector::from(one);
        let covered = dots(&state).into_iter().filter(|dot| clock.covers(*dot));
        assert_eq!(covered.collect::<Vec<_>>(), [one]);
    }
}

#[test]
fn epochs_of_replaced_siblings_are_used_again() {
    let mut me = vnode(ME);
    let mut state = blind(&mut me, None, 1).state;
    for round in 1..100 {
        for blind_write in 1..4 {
            state = blind(&mut me, Some(&state), 10 * round + blind_write).state;
        }
        let context = state.context();
        state = mint(&mut me, Some(&state), &context, write(10 * round + 9)).state;
        assert_eq!(state.siblings().len(), 1);
        assert_eq!(
            state.clock().len(),
            4,
            "one epoch for each sibling at a time"
        );
    }
}

#[test]
fn epochs_from_before_a_loss_are_not_used_on() {
    let mut me = vnode(ME);
    let first = blind(&mut me, None, 1);
    let lost = blind(&mut me, Some(&first.state), 2);
    // All of the key is lost; the two events come back later, without siblings.
    let again = blind(&mut me, None, 3);
    let mut told = lost.state;
    told.discard(&told.context());
    let local = receive(&mut me, Some(&again.state), &told).state;
    let next = blind(&mut me, Some(&local), 4);
    assert!(next.dot.actor.epoch > again.dot.actor.epoch);
}

#[test]
fn event_of_any_epoch_in_use_can_be_the_forgotten_one() {
    let mut me = vnode(ME);
    let first = blind(&mut me, None, 1);
    let second = blind(&mut me, Some(&first.state), 2);
    let context = VersionVector::from(first.dot);
    let forgotten = mint(&mut me, Some(&second.state), &context, write(3));
    assert_eq!(forgotten.dot, first.dot.actor.dot(2));

    let minted = mint(
        &mut me,
        Some(&second.state),
        &VersionVector::from(forgotten.dot),
        write(4),
    );
    assert_eq!(minted.dot.counter, 1, "a fresh epoch");
    let received = receive(&mut me, Some(&second.state), &forgotten.state);
    assert!(received.amnesia);
    let next = blind(&mut me, Some(&received.state), 5);
    assert!(next.dot.actor.epoch > second.dot.actor.epoch);
}

#[test]
fn write_with_context_replaces_what_was_seen_and_nothing_else() {
    let mut me = vnode(ME);
    let first = blind(&mut me, None, 1);
    let second = blind(&mut me, Some(&first.state), 2);
    let third = mint(
        &mut me,
        Some(&second.state),
        &first.state.context(),
        write(3),
    );
    assert_eq!(dots(&third.state), [third.dot, second.dot]);
    assert!(third.state.clock().covers(first.dot));
}

#[test]
fn absent_key_gets_a_fresh_epoch() {
    let mut me = vnode(ME);
    let first = blind(&mut me, None, 1).dot;
    let after_loss = blind(&mut me, None, 2).dot;
    assert!(after_loss.actor.epoch > first.actor.epoch);
    assert_eq!(after_loss.counter, 1);
}

#[test]
fn context_that_remembers_more_than_the_vnode_gets_a_fresh_epoch() {
    let mut me = vnode(ME);
    let old = blind(&mut me, None, 1);
    let forgotten = blind(&mut me, Some(&old.state), 2);
    let minted = mint(
        &mut me,
        Some(&old.state),
        &forgotten.state.context(),
        write(3),
    );
    assert!(minted.dot.actor.epoch > old.dot.actor.epoch);
    assert_eq!(dots(&minted.state), [minted.dot]);
}

#[test]
fn epochs_from_before_an_unclean_start_are_not_used_on() {
    let mut me = VnodeClock::create(ME);
    let lease = me.needs_lease().unwrap();
    me.lease_granted(&lease);
    let before = blind(&mut me, None, 1);
    let mut me = leased(VnodeClock::open(lease, false));
    let after = blind(&mut me, Some(&before.state), 2);
    assert!(after.dot.actor.epoch > before.dot.actor.epoch);

    let mut me = leased(VnodeClock::open(me.close(), true));
    let context = after.state.context();
    let next = mint(&mut me, Some(&after.state), &context, write(3));
    assert_eq!(next.dot, after.dot.actor.dot(2));
}

#[test]
fn epochs_are_not_used_on_after_a_lost_local_write() {
    let mut me = vnode(ME);
    let sent_but_lost = blind(&mut me, None, 1);
    me.distrust_epochs();
    let next = blind(&mut me, Some(&sent_but_lost.state), 2);
    assert!(next.dot.actor.epoch > sent_but_lost.dot.actor.epoch);
}

#[test]
fn vnode_that_is_told_of_own_events_it_forgot_adds_an_event_without_value() {
    let mut me = vnode(ME);
    let first = blind(&mut me, None, 1);
    let received = receive(&mut me, None, &first.state);
    assert!(received.amnesia && received.changed);
    assert_eq!(dots(&received.state), [first.dot]);
    let added = received.state.clock().latest_of(ME).unwrap();
    assert!(added.actor.epoch > first.dot.actor.epoch);

    let again = receive(&mut me, Some(&received.state), &first.state);
    assert!(!again.amnesia && !again.changed);
}

#[test]
fn clock_without_siblings_is_a_legal_state() {
    let mut me = vnode(ME);
    let mut told = blind(&mut me, None, 1).state;
    told.discard(&told.context());
    let received = receive(&mut me, None, &told);
    assert!(received.amnesia && received.state.is_deleted(0));
    let minted = blind(&mut me, Some(&received.state), 2);
    assert_eq!(minted.dot.counter, 2);
}

#[test]
fn receiving_merges_and_says_whether_anything_changed() {
    let (mut me, mut peer) = (vnode(ME), vnode(PEER));
    let mine = blind(&mut me, None, 1);
    let theirs = blind(&mut peer, None, 2);
    let merged = receive(&mut me, Some(&mine.state), &theirs.state);
    assert!(merged.changed && !merged.amnesia);
    assert_eq!(dots(&merged.state), [mine.dot, theirs.dot]);
    assert!(!receive(&mut me, Some(&merged.state), &theirs.state).changed);
}

#[test]
fn rolled_back_record_is_noticed_on_both_ways() {
    let mut me = vnode(ME);
    let known_elsewhere = blind(&mut me, None, 1).state;
    let mut me = vnode(ME);
    let rolled_back = EpochError::RolledBack { vnode: ME, seen: 1 };
    let received = me.receive(None, known_elsewhere.clone(), ConflictPolicy::Siblings);
    assert_eq!(received, Err(rolled_back));
    let minted = me.mint(
        None,
        &known_elsewhere.context(),
        write(2),
        ConflictPolicy::Siblings,
    );
    assert_eq!(minted, Err(MintError::Epoch(rolled_back)));
    assert!(!rolled_back.is_retryable());
}

#[test]
fn retry_gets_the_first_answer_even_after_an_overwrite() {
    let mut me = vnode(ME);
    let first = mint(&mut me, None, &VersionVector::new(), request(1, 1));
    let retry = mint(
        &mut me,
        Some(&first.state),
        &VersionVector::new(),
        request(2, 1),
    );
    assert_eq!(
        retry,
        Minted {
            replayed: true,
            ..first.clone()
        }
    );

    let over = mint(
        &mut me,
        Some(&first.state),
        &first.state.context(),
        request(3, 2),
    );
    let late = mint(
        &mut me,
        Some(&over.state),
        &VersionVector::new(),
        request(4, 1),
    );
    assert!(late.replayed);
    assert_eq!((late.dot, &late.state), (first.dot, &over.state));
}

#[test]
fn request_written_by_two_vnodes_is_shown_once_and_replaced_as_one() {
    let (mut me, mut peer) = (vnode(ME), vnode(PEER));
    let mine = mint(&mut me, None, &VersionVector::new(), request(1, 1));
    let theirs = mint(&mut peer, None, &VersionVector::new(), request(2, 1));
    let merged = receive(&mut me, Some(&mine.state), &theirs.state).state;
    assert_eq!(
        merged
            .live(0)
            .map(|sibling| sibling.dot)
            .collect::<Vec<_>>(),
        [mine.dot]
    );
    assert_eq!(
        merged.known_request(RequestId {
            client: 9,
            sequence: 1
        }),
        Some(mine.dot)
    );
    let next = mint(&mut me, Some(&merged), &merged.context(), write(3));
    assert_eq!(dots(&next.state), [next.dot]);
}

#[test]
fn late_double_of_a_replaced_request_is_not_shown() {
    let (mut me, mut peer) = (vnode(ME), vnode(PEER));
    let lost_answer = mint(&mut me, None, &VersionVector::new(), request(1, 1));
    let retry = mint(&mut peer, None, &VersionVector::new(), request(2, 1));
    let over = mint(
        &mut peer,
        Some(&retry.state),
        &retry.state.context(),
        request(3, 2),
    );
    let merged = receive(&mut peer, Some(&over.state), &lost_answer.state).state;
    assert_eq!(dots(&merged), [lost_answer.dot, over.dot]);
    assert_eq!(
        merged
            .live(0)
            .map(|sibling| sibling.dot)
            .collect::<Vec<_>>(),
        [over.dot]
    );
}

#[test]
fn blind_writes_stop_at_the_sibling_limit_but_writes_that_merge_pass() {
    let mut me = vnode(ME);
    let mut state = blind(&mut me, None, 1).state;
    for stamp in 2..=SIBLINGS_MAX as u64 {
        let minted = blind(&mut me, Some(&state), stamp);
        assert_eq!(
            minted.has_many_siblings(),
            minted.state.siblings().len() >= SIBLINGS_WARN
        );
        state = minted.state;
    }
    let refused = me.mint(
        Some(&state),
        &VersionVector::new(),
        write(1_000),
        ConflictPolicy::Siblings,
    );
    let bytes = 5 * (SIBLINGS_MAX + 1);
    assert_eq!(
        refused,
        Err(MintError::SiblingLimit {
            siblings: SIBLINGS_MAX + 1,
            bytes
        })
    );
    assert_eq!(
        mint(&mut me, Some(&state), &state.context(), write(1_000))
            .state
            .siblings()
            .len(),
        1
    );

    let more = blind(&mut vnode(PEER), None, 1).state;
    let received = receive(&mut me, Some(&state), &more);
    assert_eq!(
        received.state.siblings().len(),
        SIBLINGS_MAX + 1,
        "a merge is never refused"
    );
}

#[test]
fn blind_writes_stop_at_the_byte_limit() {
    let big = |stamp| NewWrite {
        content: Content::Value(vec![0; KEY_BYTES_MAX / 2 + 1].into()),
        ..write(stamp)
    };
    let mut me = vnode(ME);
    let first = mint(&mut me, None, &VersionVector::new(), big(1));
    let refused = me.mint(
        Some(&first.state),
        &VersionVector::new(),
        big(2),
        ConflictPolicy::Siblings,
    );
    assert!(matches!(
        refused,
        Err(MintError::SiblingLimit { siblings: 2, .. })
    ));
    mint(&mut me, Some(&first.state), &first.state.context(), big(2));
}

#[test]
fn stamp_must_be_above_what_is_here() {
    let mut me = vnode(ME);
    let first = blind(&mut me, None, 5);
    let refused = me.mint(
        Some(&first.state),
        &VersionVector::new(),
        write(5),
        ConflictPolicy::Siblings,
    );
    assert_eq!(
        refused,
        Err(MintError::StampTooLow {
            stamp: HlcStamp(5),
            floor: HlcStamp(5)
        })
    );
}

#[test]
fn last_writer_replaces_all_its_vnode_knows_and_the_larger_stamp_wins() {
    let (mut me, mut peer) = (vnode(ME), vnode(PEER));
    let lww = ConflictPolicy::Lww;
    let none = VersionVector::new();
    let first = me.mint(None, &none, write(1), lww).unwrap();
    let second = me.mint(Some(&first.state), &none, write(2), lww).unwrap();
    assert_eq!(dots(&second.state), [second.dot]);
    let theirs = peer.mint(None, &none, write(3), lww).unwrap();
    let merged = me
        .receive(Some(&second.state), theirs.state.clone(), lww)
        .unwrap()
        .state;
    assert_eq!(dots(&merged), [theirs.dot]);
    assert!(merged.clock().covers(second.dot));

    let ahead = me.mint(Some(&second.state), &theirs.state.context(), write(4), lww);
    assert_eq!(ahead, Err(MintError::ContextAhead));
    assert!(
        me.mint(Some(&merged), &theirs.state.context(), write(4), lww)
            .is_ok()
    );
}
