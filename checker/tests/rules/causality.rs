//! C4.

use annulus_checker::Rule::Causality;
use annulus_checker::{Outcome, Written};

use crate::scenario::{
    CALM, FAULTY, REAPING, breaks, clock, delete, delete_nothing, dot, get, held_by_all, holds,
    put, records,
};

#[test]
fn context_does_not_cover_what_is_shown() {
    let history = records![
        put(1, 0, &[], dot(1, 2)),
        get(2, 100, &[(1, dot(1, 2))], &[dot(1, 1)])
    ];
    breaks(Causality, history, FAULTY);
}

#[test]
fn context_covers_what_is_neither_shown_nor_replaced() {
    let values = || [put(1, 0, &[], dot(1, 1)), put(2, 5, &[], dot(2, 1))];
    let [one, two] = values();
    let both = [dot(1, 1), dot(2, 1)];
    let half = || get(3, 8, &[(2, dot(2, 1))], &both);
    breaks(Causality, records![one, two, half()], FAULTY);
    // The first, unacknowledged, was seen elsewhere: its dot is known.
    let [one, two] = values();
    let seen = get(4, 7, &[(1, dot(1, 1))], &[dot(1, 1)]);
    breaks(
        Causality,
        records![one.unknown(), two, seen, half()],
        FAULTY,
    );
    let [one, two] = values();
    let replacing = delete(4, 7, &[dot(1, 1)], dot(3, 1)).unknown();
    holds(records![one, two, replacing, half()], FAULTY);
    let [one, two] = values();
    holds(records![one.ttl_ms(5), two, half()], FAULTY);
    let [one, two] = values();
    let unseen = get(3, 8, &[(2, dot(2, 1))], &[dot(2, 1)]);
    holds(records![one, two, unseen], FAULTY);
}

#[test]
fn min_context_is_not_reached() {
    let value = || put(1, 0, &[], dot(1, 1));
    let asked = |seen| get(2, 100, &[(1, dot(1, 1))], &[seen]).min_context(&[dot(1, 2)]);
    breaks(Causality, records![value(), asked(dot(1, 1))], FAULTY);
    holds(records![value(), asked(dot(1, 2))], FAULTY);
}

#[test]
fn a_context_of_a_key_that_was_forgotten_need_not_be_reached() {
    let history = records![
        put(1, 0, &[], dot(1, 1)),
        delete(2, 100, &[dot(1, 1)], dot(2, 1)),
        get(3, 700_000, &[], &[]).min_context(&[dot(1, 1)])
    ];
    holds(history.clone(), REAPING);
    breaks(Causality, history, FAULTY);
}

#[test]
fn a_delete_that_found_nothing_does_not_keep_a_key_from_being_forgotten() {
    let seen = [dot(1, 1), dot(2, 1)];
    let history = records![
        put(1, 0, &[], dot(1, 1)),
        delete(2, 100, &[dot(1, 1)], dot(2, 1)),
        delete_nothing(3, 500_000, &seen),
        get(4, 700_000, &[], &[]).min_context(&seen)
    ];
    holds(history, REAPING);
}

#[test]
fn answer_to_a_write_has_seen_less_than_the_write() {
    let answered = |dots: &[_]| {
        put(2, 100, &[dot(1, 1)], dot(2, 1)).outcome(Outcome::Written(Written {
            context: Some(clock(dots)),
            dot: Some(dot(2, 1)),
            version: None,
        }))
    };
    breaks(Causality, records![answered(&[dot(2, 1)])], FAULTY);
    breaks(Causality, records![answered(&[dot(1, 1)])], FAULTY);
    holds(records![answered(&[dot(1, 1), dot(2, 1)])], FAULTY);
}

#[test]
fn a_dot_names_two_values() {
    let shown = get(3, 8, &[(2, dot(1, 1))], &[dot(1, 1)]);
    let history = records![
        put(1, 0, &[], dot(1, 1)),
        put(2, 5, &[], dot(1, 2)).unknown(),
        shown
    ];
    breaks(Causality, history, FAULTY);
    let acknowledged = records![put(1, 0, &[], dot(1, 1)), put(2, 5, &[], dot(1, 1))];
    breaks(Causality, acknowledged, FAULTY);
    let mut held = records![put(1, 0, &[], dot(1, 1))];
    held.extend(held_by_all(&[(0, dot(1, 1))], &[dot(1, 1)]));
    breaks(Causality, held, FAULTY);
    let other_key = put(2, 5, &[], dot(1, 1)).on_key("other");
    holds(records![put(1, 0, &[], dot(1, 1)), other_key], FAULTY);
}

#[test]
fn a_request_has_two_dots() {
    let value = || put(1, 0, &[], dot(1, 1));
    let history = records![value(), get(2, 5, &[(1, dot(2, 1))], &[dot(2, 1)])];
    breaks(Causality, history.clone(), CALM);
    holds(history, FAULTY);
}
