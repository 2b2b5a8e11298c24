//! C1.

use annulus_checker::Rule::NoLostUpdate;

use crate::scenario::{
    CALM, FAULTY, REAPING, breaks, delete, dot, get, held_by_all, holds, put, records,
};

#[test]
fn acknowledged_value_that_nobody_replaced_and_nobody_holds() {
    let mut history = records![put(1, 0, &[], dot(1, 1)), put(2, 100, &[], dot(2, 1))];
    history.extend(held_by_all(&[(2, dot(2, 1))], &[dot(1, 1), dot(2, 1)]));
    breaks(NoLostUpdate, history, FAULTY);
}

#[test]
fn a_sloppy_write_may_stay_unseen_but_not_be_lost() {
    let sloppy = put(1, 0, &[], dot(1, 1)).r_w(2, 0);
    let mut history = records![sloppy, put(2, 100, &[], dot(2, 1))];
    history.extend(held_by_all(&[(2, dot(2, 1))], &[dot(2, 1)]));
    breaks(NoLostUpdate, history, FAULTY);
}

#[test]
fn acknowledged_event_that_no_owner_knows_is_lost_whoever_replaced_it() {
    let replacing = put(2, 100, &[dot(1, 1)], dot(2, 1)).unknown();
    let mut history = records![put(1, 0, &[], dot(1, 1)), replacing];
    history.extend(held_by_all(&[(2, dot(2, 1))], &[dot(2, 1)]));
    breaks(NoLostUpdate, history, FAULTY);
}

#[test]
fn a_lost_delete_is_a_lost_update() {
    let mut history = records![
        put(1, 0, &[], dot(1, 1)),
        delete(2, 100, &[dot(1, 1)], dot(2, 1))
    ];
    history.extend(held_by_all(&[(1, dot(1, 1))], &[dot(1, 1)]));
    breaks(NoLostUpdate, history, FAULTY);
}

#[test]
fn one_owner_that_forgot_the_value_but_knows_the_event_loses_it_for_all() {
    let mut history = records![put(1, 0, &[], dot(1, 1))];
    history.extend(held_by_all(&[(1, dot(1, 1))], &[dot(1, 1)]));
    let hole = crate::scenario::held(4, &[], &[dot(1, 1)]);
    history.push(annulus_checker::Record::FinalState(hole));
    breaks(NoLostUpdate, history, FAULTY);
}

#[test]
fn a_context_that_was_sent_before_the_value_was_written_replaced_nothing() {
    let unknown = delete(1, 0, &[dot(3, 1)], dot(3, 2)).unknown();
    let mut history = records![unknown, put(2, 100, &[], dot(1, 1))];
    history.extend(held_by_all(&[], &[dot(1, 1), dot(3, 2)]));
    breaks(NoLostUpdate, history, FAULTY);
}

#[test]
fn replaced_values_are_not_lost() {
    let replacing = put(2, 100, &[dot(1, 1)], dot(2, 1));
    for replacing in [replacing.clone(), replacing.unknown()] {
        let mut history = records![put(1, 0, &[], dot(1, 1)), replacing];
        history.extend(held_by_all(&[(2, dot(2, 1))], &[dot(1, 1), dot(2, 1)]));
        holds(history, FAULTY);
    }
}

#[test]
fn rejected_writes_replace_nothing() {
    let rejected = put(2, 100, &[dot(1, 1)], dot(2, 1)).rejected();
    let mut history = records![put(1, 0, &[], dot(1, 1)), rejected];
    history.extend(held_by_all(&[], &[dot(1, 1)]));
    breaks(NoLostUpdate, history, FAULTY);
}

#[test]
fn a_delete_without_context_may_have_seen_it() {
    for blind in [
        delete(2, 100, &[], dot(2, 1)),
        delete(2, 5, &[], dot(2, 1)),
        delete(2, 0, &[], dot(2, 1)).unknown(),
    ] {
        let mut history = records![put(1, 1, &[], dot(1, 1)), blind];
        history.extend(held_by_all(&[(0, dot(2, 1))], &[dot(1, 1), dot(2, 1)]));
        holds(history, CALM);
    }
}

#[test]
fn a_delete_without_context_that_was_over_before_did_not_see_it() {
    let mut history = records![delete(1, 0, &[], dot(2, 1)), put(2, 20, &[], dot(1, 1))];
    history.extend(held_by_all(&[(0, dot(2, 1))], &[dot(1, 1), dot(2, 1)]));
    breaks(NoLostUpdate, history.clone(), CALM);
    // Some owner that it was forwarded to, and whose answer was lost, may still have looked.
    holds(history, FAULTY);
}

#[test]
fn expired_values_may_be_gone() {
    let mut history = records![put(1, 0, &[], dot(1, 1)).ttl_ms(5_000)];
    history.extend(held_by_all(&[], &[dot(1, 1)]));
    holds(history, FAULTY);
}

#[test]
fn a_request_that_was_written_twice_is_replaced_by_either_dot() {
    // Acknowledged as 1:1; nobody recorded its other event 2:1, which the last write's context covers.
    let mut history = records![
        put(1, 0, &[], dot(1, 1)),
        get(2, 100, &[(1, dot(1, 1))], &[dot(1, 1)]).bare(),
        put(3, 200, &[dot(2, 1)], dot(3, 1)),
    ];
    history.extend(held_by_all(
        &[(3, dot(3, 1))],
        &[dot(1, 1), dot(2, 1), dot(3, 1)],
    ));
    holds(history.clone(), FAULTY);
    breaks(NoLostUpdate, history, CALM);
}

#[test]
fn an_event_that_was_seen_before_is_nobody_later() {
    // As above, but 2:1 was in a context before the first put began.
    let mut history = records![
        get(9, 0, &[], &[dot(2, 1)]),
        put(1, 100, &[], dot(1, 1)),
        put(3, 200, &[dot(2, 1)], dot(3, 1)),
    ];
    history.extend(held_by_all(
        &[(3, dot(3, 1))],
        &[dot(1, 1), dot(2, 1), dot(3, 1)],
    ));
    breaks(NoLostUpdate, history, FAULTY);
}

#[test]
fn a_key_that_was_left_deleted_may_be_forgotten() {
    let mut history = records![
        put(1, 0, &[], dot(1, 1)),
        delete(2, 100, &[dot(1, 1)], dot(2, 1))
    ];
    history.extend(held_by_all(&[], &[]));
    holds(history.clone(), REAPING);
    breaks(NoLostUpdate, history, FAULTY);
}

#[test]
fn a_key_that_was_written_meanwhile_is_remembered() {
    let again = || put(3, 500_000, &[dot(2, 1)], dot(3, 1));
    for (again, is_known) in [(again(), true), (again().unknown(), false)] {
        let mut history = records![
            put(1, 0, &[], dot(1, 1)),
            delete(2, 100, &[dot(1, 1)], dot(2, 1)),
            again
        ];
        history.extend(held_by_all(&[], &[]));
        if is_known {
            breaks(NoLostUpdate, history, REAPING);
        } else {
            holds(history, REAPING);
        }
    }
}
