//! A keyspace that may lose acknowledged writes: what still holds of it, and what does not.

use annulus_checker::Rule::{Causality, Freshness, NoLostUpdate, NoPhantom, NoResurrection};
use annulus_checker::{KeyspacePromise, Record, Rule};

use crate::scenario::{FAULTY, breaks, delete, dot, get, held_by_all, holds, put, records};

fn promise(keyspace: &str, may_lose_acknowledged: bool) -> Record {
    Record::Keyspace(KeyspacePromise {
        keyspace: keyspace.to_owned(),
        may_lose_acknowledged,
    })
}

/// The history breaks the rule, unless its keyspace may lose what was acknowledged.
#[track_caller]
fn is_excused(rule: Rule, history: &[Record]) {
    let with = |promise| [history, &[promise]].concat();
    breaks(rule, history.to_vec(), FAULTY);
    breaks(rule, with(promise("kv", false)), FAULTY);
    breaks(rule, with(promise("other", true)), FAULTY);
    holds(with(promise("kv", true)), FAULTY);
}

#[test]
fn a_value_may_be_gone() {
    let mut history = records![put(1, 0, &[], dot(1, 1))];
    history.extend(held_by_all(&[], &[]));
    is_excused(NoLostUpdate, &history);
}

#[test]
fn a_read_may_miss_what_was_acknowledged() {
    let history = records![put(1, 0, &[], dot(1, 1)), get(2, 100, &[], &[])];
    is_excused(Freshness, &history);
}

#[test]
fn a_value_may_be_back_when_its_delete_is_gone() {
    let shown = get(3, 200, &[(1, dot(1, 1))], &[dot(1, 1)]);
    let history = records![
        put(1, 0, &[], dot(1, 1)),
        delete(2, 100, &[dot(1, 1)], dot(2, 1)),
        shown,
    ];
    is_excused(NoResurrection, &history);
}

#[test]
fn nothing_else_is_excused() {
    let lossy = || promise("kv", true);
    let nobodys = get(2, 100, &[(1, dot(1, 1))], &[dot(1, 1)]);
    let mut phantom = records![nobodys];
    phantom.push(lossy());
    breaks(NoPhantom, phantom, FAULTY);
    let mut hidden = records![put(1, 0, &[], dot(1, 1)), get(2, 100, &[], &[dot(1, 1)])];
    hidden.push(lossy());
    breaks(Causality, hidden, FAULTY);
    let mut outlived = records![
        put(1, 0, &[], dot(1, 1)).ttl_ms(10),
        get(2, 60_000, &[(1, dot(1, 1))], &[dot(1, 1)]),
    ];
    outlived.push(lossy());
    breaks(NoResurrection, outlived, FAULTY);
}
