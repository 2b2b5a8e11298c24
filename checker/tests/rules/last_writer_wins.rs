//! C7, and what the other rules say where the last writer wins.

use annulus_checker::Rule::{Freshness, LastWriterWins, NoLostUpdate};
use annulus_checker::{Policy, Record};

use crate::scenario::{
    CALM, FAULTY, Op, breaks, delete, dot, get, held, held_by_all, holds, put, records,
};

fn value(id: u64, at_ms: u64, version: u64) -> Op {
    put(id, at_ms, &[], dot(id, 1)).lww(version)
}

fn all_hold(
    values: &[(u64, annulus_causality::Dot)],
    known: &[annulus_causality::Dot],
) -> Vec<Record> {
    let states = (1..=3).map(|number| held(number, values, known));
    states
        .map(|state| {
            Record::FinalState(annulus_checker::FinalState {
                policy: Policy::Lww,
                ..state
            })
        })
        .collect()
}

#[test]
fn several_values() {
    let both = [(1, dot(1, 1)), (2, dot(2, 1))];
    let shown = get(3, 100, &both, &[dot(1, 1), dot(2, 1)]).lww(8);
    breaks(
        LastWriterWins,
        records![value(1, 0, 7), value(2, 5, 8), shown],
        FAULTY,
    );
    let mut history = records![value(1, 0, 7), value(2, 5, 8)];
    history.extend(all_hold(&both, &[dot(1, 1), dot(2, 1)]));
    breaks(LastWriterWins, history, FAULTY);
}

#[test]
fn the_largest_version_wins_whatever_the_order_of_time() {
    let known = [dot(1, 1), dot(2, 1)];
    let values = || records![value(1, 0, 9), value(2, 100, 8)];
    let mut history = values();
    history.extend(all_hold(&[(2, dot(2, 1))], &known));
    breaks(LastWriterWins, history, FAULTY);
    let mut history = values();
    history.extend(all_hold(&[(1, dot(1, 1))], &known));
    holds(history, FAULTY);
}

#[test]
fn a_causally_later_write_has_the_larger_version() {
    let over = |version| put(2, 100, &[dot(1, 1)], dot(2, 1)).lww(version);
    breaks(LastWriterWins, records![value(1, 0, 9), over(8)], FAULTY);
    holds(records![value(1, 0, 9), over(10)], FAULTY);
    holds(records![value(1, 0, 9), value(2, 100, 8)], FAULTY); // a blind one need not
}

#[test]
fn a_stale_version_is_shown() {
    let shown = |id: u64, version| get(3, 200, &[(id, dot(id, 1))], &[]).lww(version).bare();
    let values = |second| records![value(1, 0, 7), value(2, 100, second)];
    let mut history = values(8);
    history.push(shown(1, 7).into());
    breaks(Freshness, history, FAULTY);
    let mut history = values(6);
    history.push(shown(1, 7).into());
    holds(history, FAULTY);
}

#[test]
fn absence_needs_a_delete_or_an_expiry_that_may_win() {
    let absent = || get(3, 5_000, &[], &[]).lww(0).bare();
    let removal = |at| delete(2, at, &[], dot(2, 1)).lww(0);
    breaks(Freshness, records![value(1, 3_000, 7), absent()], FAULTY);
    holds(
        records![value(1, 3_000, 7), removal(3_100), absent()],
        FAULTY,
    );
    holds(
        records![value(1, 3_000, 7), removal(2_500), absent()],
        FAULTY,
    );
    breaks(
        Freshness,
        records![value(1, 3_000, 7), removal(0), absent()],
        FAULTY,
    );
    holds(records![value(1, 3_000, 7).ttl_ms(500), absent()], FAULTY);
}

#[test]
fn nothing_is_left() {
    let known = [dot(1, 1)];
    let mut history = records![value(1, 0, 7)];
    history.extend(all_hold(&[], &known));
    breaks(NoLostUpdate, history, FAULTY);
    // Losers are dropped: that loses no update.
    let mut history = records![value(1, 0, 7), value(2, 5, 8)];
    history.extend(all_hold(&[(2, dot(2, 1))], &[dot(1, 1), dot(2, 1)]));
    holds(history.clone(), CALM);
    // Where siblings are kept it does.
    let mut history = records![put(1, 0, &[], dot(1, 1)), put(2, 5, &[], dot(2, 1))];
    history.extend(held_by_all(&[(2, dot(2, 1))], &[dot(1, 1), dot(2, 1)]));
    breaks(NoLostUpdate, history, CALM);
}
