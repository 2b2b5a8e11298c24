//! Merging is a lattice join on every state that can come about, with and without the last writer winning.

mod histories;

use annulus_causality::{ConflictPolicy, Content, KeyState, RECENT_REQUESTS_MAX};
use histories::{config, history, states_of};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

fn joined(a: &KeyState, b: &KeyState, policy: ConflictPolicy) -> KeyState {
    let mut joined = a.clone();
    joined.sync(b);
    if policy == ConflictPolicy::Lww {
        joined.reduce_lww();
    }
    joined
}

fn policies() -> impl Strategy<Value = ConflictPolicy> {
    prop_oneof![Just(ConflictPolicy::Siblings), Just(ConflictPolicy::Lww)]
}

/// Three states of one life, and how their keyspace treats conflicts.
fn three() -> impl Strategy<Value = (KeyState, KeyState, KeyState, ConflictPolicy)> {
    (history(), policies(), any::<[Index; 3]>()).prop_map(|(history, policy, picks)| {
        let states = states_of(&history, policy);
        let [a, b, c] = picks.map(|pick| pick.get(&states).clone());
        (a, b, c, policy)
    })
}

/// The laws say nothing if the states that they are tried on are too simple.
#[test]
fn lives_bring_about_every_kind_of_state() {
    let mut runner = TestRunner::deterministic();
    let mut states = Vec::new();
    for _ in 0..500 {
        let history = history()
            .new_tree(&mut runner)
            .expect("nothing is filtered")
            .current();
        states.extend(states_of(&history, ConflictPolicy::Siblings));
    }
    let some = |kind: fn(&KeyState) -> bool| states.iter().filter(|state| kind(state)).count() > 50;
    assert!(
        some(|state| state.siblings().len() > 3),
        "concurrent writes"
    );
    assert!(
        some(|state| state
            .siblings()
            .iter()
            .any(|s| s.content == Content::Tombstone)),
        "deletes"
    );
    assert!(
        some(|state| state.recent_requests().len() == RECENT_REQUESTS_MAX),
        "forgotten requests"
    );
    assert!(
        some(|state| state.clock().len() > 3),
        "more epochs than vnodes"
    );
    let doubles = |state: &KeyState| {
        let mut ids: Vec<_> = state
            .siblings()
            .iter()
            .filter_map(|s| s.request_id)
            .collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        ids.len() < all
    };
    assert!(some(doubles), "requests written twice");
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn merge_is_idempotent((a, _, _, policy) in three()) {
        prop_assert_eq!(joined(&a, &a, policy), a);
    }

    #[test]
    fn merge_is_commutative((a, b, _, policy) in three()) {
        prop_assert_eq!(joined(&a, &b, policy), joined(&b, &a, policy));
    }

    #[test]
    fn merge_is_associative((a, b, c, policy) in three()) {
        let left = joined(&joined(&a, &b, policy), &c, policy);
        let right = joined(&a, &joined(&b, &c, policy), policy);
        prop_assert_eq!(left, right);
    }

    #[test]
    fn merge_is_the_upper_bound_of_both((a, b, _, policy) in three()) {
        let both = joined(&a, &b, policy);
        prop_assert!(a.dominated_by(&both) && b.dominated_by(&both));
        prop_assert_eq!(joined(&both, &a, policy), both.clone());
    }

    #[test]
    fn merge_keeps_exactly_the_siblings_that_nobody_replaced((a, b, _, _) in three()) {
        let both = joined(&a, &b, ConflictPolicy::Siblings);
        for sibling in a.siblings().iter().chain(b.siblings()) {
            let stays = [&a, &b].iter().all(|side| {
                side.siblings().contains(sibling) || !side.clock().covers(sibling.dot)
            });
            prop_assert_eq!(both.siblings().contains(sibling), stays);
        }
        prop_assert!(both.siblings().iter().all(|s| a.siblings().contains(s) || b.siblings().contains(s)));
        prop_assert!(both.siblings().is_sorted_by(|a, b| a.dot < b.dot));
    }

    #[test]
    fn dominated_means_that_merging_teaches_nothing((a, b, _, policy) in three()) {
        prop_assert_eq!(a.dominated_by(&b), joined(&b, &a, policy).same_as(&b));
    }

    #[test]
    fn digests_agree_when_clocks_and_dots_do((a, b, _, _) in three()) {
        prop_assert_eq!(a.digest() == b.digest(), a.same_as(&b));
    }

    #[test]
    fn live_shows_values_once_a_request((a, b, _, policy) in three(), now_ms in 1_000_000..1_005_000_u64) {
        let both = joined(&a, &b, policy);
        let mut requests = Vec::new();
        for sibling in both.live(now_ms) {
            prop_assert!(matches!(sibling.content, Content::Value(_)) && !sibling.is_expired(now_ms));
            if let Some(id) = sibling.request_id {
                prop_assert!(!requests.contains(&id));
                requests.push(id);
            }
        }
        prop_assert_eq!(both.is_deleted(now_ms), both.live(now_ms).count() == 0);
    }
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn dropping_expired_values_changes_no_hash_and_no_merge(
        (a, b, _, policy) in three(),
        now_ms in 1_000_000..1_200_000_u64,
    ) {
        let mut dropped = a.clone();
        let count = dropped.drop_expired(now_ms);
        prop_assert_eq!(dropped.digest(), a.digest());
        prop_assert_eq!(dropped.live(now_ms).count(), a.live(now_ms).count());
        prop_assert_eq!(dropped.drop_expired(now_ms), 0);
        prop_assert_eq!(count > 0, dropped.record_digest() != a.record_digest());
        let merged = joined(&dropped, &b, policy);
        prop_assert_eq!(&merged, &joined(&b, &dropped, policy));
        prop_assert!(merged.same_as(&joined(&a, &b, policy)));
        prop_assert_eq!(joined(&merged, &a, policy), merged);
    }

    #[test]
    fn a_state_has_ended_when_nothing_of_it_is_a_value((a, _, _, _) in three()) {
        let is_value = |sibling: &annulus_causality::Sibling| matches!(sibling.content, Content::Value(_));
        let has_value = a.siblings().iter().any(is_value) || a.siblings().is_empty();
        prop_assert_eq!(a.ended_at_ms().is_none(), has_value);
        if let Some(end) = a.ended_at_ms() {
            prop_assert!(a.siblings().iter().all(|s| s.stamp.ms() <= end && s.is_expired(end) == s.expires_at_ms.is_some()));
        }
    }
}
