//! C5.

use annulus_checker::Rule::Freshness;

use crate::scenario::{CALM, FAULTY, breaks, delete, dot, get, holds, put, records};

#[test]
fn acknowledged_value_is_not_shown() {
    let value = || put(1, 0, &[], dot(1, 1));
    for stale in [get(2, 100, &[], &[]), get(2, 100, &[], &[]).bare()] {
        breaks(Freshness, records![value(), stale], FAULTY);
    }
}

#[test]
fn reads_that_need_not_see_it() {
    let value = || put(1, 0, &[], dot(1, 1));
    let stale = |at| get(2, at, &[], &[]);
    holds(records![value(), stale(5)], FAULTY); // concurrent
    holds(records![value(), stale(10)], FAULTY); // began in the moment it ended
    holds(records![value(), stale(100).r_w(1, 2)], FAULTY); // R + W = N
    holds(records![value().r_w(2, 1), stale(100)], FAULTY);
    holds(records![value().r_w(2, 0), stale(100).r_w(3, 2)], FAULTY); // sloppy
    holds(records![value().unknown(), stale(100)], FAULTY);
    holds(records![value().ttl_ms(50), stale(100).bare()], FAULTY);
}

#[test]
fn shown_is_what_may_have_replaced_it() {
    let value = || put(1, 0, &[], dot(1, 1));
    let known = [dot(1, 1), dot(2, 1)];
    let later = || put(2, 50, &[dot(1, 1)], dot(2, 1));
    for outcome in [later(), later().unknown()] {
        let shown = get(3, 100, &[(2, dot(2, 1))], &known);
        holds(records![value(), outcome, shown], FAULTY);
    }
    let gone = get(3, 100, &[], &known);
    let unknown_delete = delete(2, 50, &[], dot(2, 1)).unknown();
    holds(records![value(), unknown_delete, gone.clone()], FAULTY);
    let rejected = delete(2, 50, &[], dot(2, 1)).rejected();
    breaks(Freshness, records![value(), rejected, gone.clone()], FAULTY);
    let too_late = delete(2, 200, &[], dot(2, 1));
    breaks(Freshness, records![value(), too_late, gone], FAULTY);
}

#[test]
fn an_unacknowledged_replacement_does_not_excuse_a_context_that_has_not_seen_the_write() {
    let replacing = delete(2, 50, &[dot(1, 1)], dot(2, 1)).unknown();
    let history = records![put(1, 0, &[], dot(1, 1)), replacing, get(3, 100, &[], &[])];
    breaks(Freshness, history, FAULTY);
}

#[test]
fn a_retry_counts_from_its_first_acknowledgement() {
    let retried = put(1, 0, &[], dot(1, 1)).unknown().retried(50, dot(1, 1));
    let stale = |at| get(2, at, &[], &[]);
    holds(records![retried.clone(), stale(40)], CALM);
    breaks(Freshness, records![retried, stale(100)], CALM);
}

#[test]
fn a_later_quorum_read_goes_back() {
    let unknown = || put(1, 0, &[], dot(1, 1)).unknown();
    let first = |r, w| get(2, 100, &[(1, dot(1, 1))], &[dot(1, 1)]).r_w(r, w);
    let second = |at| get(3, at, &[], &[]);
    breaks(
        Freshness,
        records![unknown(), first(2, 2), second(200)],
        FAULTY,
    );
    holds(records![unknown(), first(2, 2), second(105)], FAULTY);
    holds(records![unknown(), first(1, 2), second(200)], FAULTY);
    holds(records![unknown(), first(2, 1), second(200)], FAULTY);
    holds(
        records![unknown(), first(2, 2), second(200).r_w(1, 2)],
        FAULTY,
    );
}
