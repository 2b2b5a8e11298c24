//! C2.

use annulus_checker::Record;
use annulus_checker::Rule::NoResurrection;

use crate::scenario::{
    CALM, FAULTY, breaks, delete, dot, get, held, held_by_all, holds, put, records,
};

#[test]
fn deleted_value_comes_back_in_a_quorum_read() {
    let both = [dot(1, 1), dot(2, 1)];
    for removal in [
        delete(2, 100, &[dot(1, 1)], dot(2, 1)),
        delete(2, 100, &[], dot(2, 1)),
        put(2, 100, &[dot(1, 1)], dot(2, 1)),
    ] {
        let back = get(3, 200, &[(1, dot(1, 1)), (2, dot(2, 1))], &both);
        let history = records![put(1, 0, &[], dot(1, 1)), removal, back];
        breaks(NoResurrection, history, FAULTY);
    }
}

#[test]
fn reads_that_need_not_meet_the_delete_may_show_it() {
    let shown = |id, at| get(id, at, &[(1, dot(1, 1))], &[dot(1, 1)]);
    let removal = || delete(2, 100, &[dot(1, 1)], dot(2, 1));
    let value = || put(1, 0, &[], dot(1, 1));
    holds(records![value(), removal(), shown(3, 105)], FAULTY); // concurrent
    holds(
        records![value(), removal(), shown(3, 200).r_w(1, 2)],
        FAULTY,
    ); // R + W = N
    holds(
        records![value(), removal().r_w(2, 1), shown(3, 200)],
        FAULTY,
    );
    holds(
        records![value(), removal().unknown(), shown(3, 200)],
        FAULTY,
    );
    holds(
        records![value(), removal().rejected(), shown(3, 200)],
        FAULTY,
    );
}

#[test]
fn a_write_after_a_delete_is_no_resurrection() {
    let known = [dot(1, 1), dot(2, 1), dot(3, 1)];
    let history = records![
        put(1, 0, &[], dot(1, 1)),
        delete(2, 100, &[dot(1, 1)], dot(2, 1)),
        put(3, 200, &[], dot(3, 1)),
        get(4, 300, &[(3, dot(3, 1))], &known),
    ];
    holds(history, CALM);
}

#[test]
fn the_second_dot_of_a_request_is_no_resurrection_where_answers_get_lost() {
    let back = get(
        3,
        200,
        &[(1, dot(3, 1))],
        &[dot(1, 1), dot(2, 1), dot(3, 1)],
    );
    let history = records![
        put(1, 0, &[], dot(1, 1)),
        delete(2, 100, &[dot(1, 1)], dot(2, 1)),
        back
    ];
    holds(history.clone(), FAULTY);
    breaks(NoResurrection, history, CALM);
}

#[test]
fn replaced_sibling_is_held_at_the_end() {
    let mut history = records![
        put(1, 0, &[], dot(1, 1)),
        delete(2, 100, &[dot(1, 1)], dot(2, 1))
    ];
    history.extend(held_by_all(&[(0, dot(2, 1))], &[dot(1, 1), dot(2, 1)]));
    holds(history.clone(), FAULTY);
    history.push(Record::FinalState(held(4, &[(1, dot(1, 1))], &[dot(1, 1)])));
    breaks(NoResurrection, history, FAULTY);
}

#[test]
fn expired_value_is_shown() {
    let shown = |at| get(2, at, &[(1, dot(1, 1))], &[dot(1, 1)]);
    let value = || put(1, 0, &[], dot(1, 1)).ttl_ms(5_000);
    breaks(NoResurrection, records![value(), shown(6_020)], FAULTY);
    // It may have been written as late as at its deadline.
    holds(records![value(), shown(5_900)], FAULTY);
    breaks(NoResurrection, records![value(), shown(5_900)], CALM);
    holds(records![value(), shown(4_900)], CALM);
}
