//! What every engine must do, as one suite: [`run`] it on each implementation.
//!
//! Promises about crashes need a process that dies or a simulated disk, so they are tested where
//! those are (`tests/crash_recovery.rs`).

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::engine::{Batch, Engine, Entry, InMemory, KeyRange, Persistence, ScanLimit, Space};
use super::sum_block::{self, Sum, SumBlock};

const ALL: ScanLimit = ScanLimit {
    entries: usize::MAX,
    bytes: usize::MAX,
};

/// Runs the whole suite. `make` gives an empty engine each time.
///
/// # Panics
/// When the engine breaks a promise.
pub fn run<E: Engine>(make: impl Fn() -> E) {
    reads_see_the_last_write(&make());
    spaces_are_apart(&make());
    changes_of_a_batch_apply_in_order(&make());
    scans_are_sorted_and_bounded(&make());
    sequence_grows_with_every_change(&make());
    changes_combine_with_blocks(&make());
    changes_combine_with_nothing_where_a_range_was_deleted(&make());
    a_deleted_range_is_gone_and_can_be_filled_again(&make());
    large_values_come_back(&make());
    agrees_with_a_sorted_map(&make);
}

fn put(engine: &dyn Engine, space: Space, key: &[u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(space, key.to_vec(), value.to_vec());
    engine.write(&batch, Persistence::Buffered).expect("writes");
}

fn get(engine: &dyn Engine, space: Space, key: &[u8]) -> Option<Bytes> {
    let value = engine.get(space, key).expect("reads");
    if let InMemory::Known(in_memory) = engine.get_in_memory(space, key).expect("looks up") {
        assert_eq!(in_memory, value, "memory and disk disagree");
    }
    value
}

fn reads_see_the_last_write(engine: &dyn Engine) {
    assert_eq!(get(engine, Space::Data, b"a"), None);
    put(engine, Space::Data, b"a", b"1");
    put(engine, Space::Data, b"a", b"2");
    assert_eq!(get(engine, Space::Data, b"a").as_deref(), Some(&b"2"[..]));
    put(engine, Space::Data, b"a", b"");
    assert_eq!(
        get(engine, Space::Data, b"a").as_deref(),
        Some(&b""[..]),
        "empty is not absent"
    );
}

fn spaces_are_apart(engine: &dyn Engine) {
    put(engine, Space::Data, b"a", b"data");
    assert_eq!(get(engine, Space::Meta, b"a"), None);
    put(engine, Space::Meta, b"a", b"meta");
    assert_eq!(
        get(engine, Space::Data, b"a").as_deref(),
        Some(&b"data"[..])
    );
    let found = engine
        .scan(Space::Meta, &KeyRange::default(), ALL)
        .expect("scans");
    assert_eq!(found.len(), 1);
}

fn changes_of_a_batch_apply_in_order(engine: &dyn Engine) {
    let mut batch = Batch::new();
    batch.put(Space::Data, &b"a"[..], &b"1"[..]);
    batch.delete(Space::Data, &b"a"[..]);
    batch.delete(Space::Data, &b"b"[..]);
    batch.put(Space::Data, &b"b"[..], &b"2"[..]);
    engine.write(&batch, Persistence::Synced).expect("writes");
    assert_eq!(get(engine, Space::Data, b"a"), None);
    assert_eq!(get(engine, Space::Data, b"b").as_deref(), Some(&b"2"[..]));
}

fn scans_are_sorted_and_bounded(engine: &dyn Engine) {
    for key in [&b"b1"[..], b"a", b"b3", b"b2", b"c", b"b"] {
        put(engine, Space::Data, key, b"0123456789");
    }
    let keys = |range: &KeyRange, limit| {
        let found = engine.scan(Space::Data, range, limit).expect("scans");
        found
            .into_iter()
            .map(|entry| entry.key.to_vec())
            .collect::<Vec<_>>()
    };
    let range = KeyRange::with_prefix(b"b");
    assert_eq!(keys(&range, ALL), [&b"b"[..], b"b1", b"b2", b"b3"]);
    assert_eq!(
        keys(&range, ScanLimit { entries: 2, ..ALL }),
        [&b"b"[..], b"b1"]
    );
    assert_eq!(
        keys(&range, ScanLimit { bytes: 23, ..ALL }),
        [&b"b"[..], b"b1"]
    );
    assert_eq!(
        keys(&range, ScanLimit { bytes: 1, ..ALL }),
        [b"b"],
        "one comes in any case"
    );
    assert_eq!(keys(&range.after(b"b1"), ALL), [b"b2", b"b3"]);
    let empty = KeyRange {
        start: b"z".to_vec(),
        end: Some(b"a".to_vec()),
    };
    assert!(keys(&empty, ALL).is_empty());
}

fn sequence_grows_with_every_change(engine: &dyn Engine) {
    let before = engine.sequence();
    put(engine, Space::Data, b"a", b"1");
    let after = engine.sequence();
    assert!(after > before);
    put(engine, Space::Meta, b"a", b"1");
    assert!(engine.sequence() > after);
}

fn changes_combine_with_blocks(engine: &dyn Engine) {
    let combine = |key: &'static [u8], hash| {
        let mut batch = Batch::new();
        let sum = Sum { hash, keys: 1 };
        batch.combine(key, sum_block::change(7, sum));
        engine.write(&batch, Persistence::Synced).expect("writes");
    };
    let sum = |key: &[u8]| {
        let block = get(engine, Space::Tree, key);
        block.map(|block| SumBlock::decode(&block).at(7))
    };
    assert_eq!(sum(b"a"), None);
    combine(b"a", 1);
    combine(b"a", 2);
    assert_eq!(sum(b"a"), Some(Sum { hash: 3, keys: 2 }));
    engine.flush().expect("flushes");
    combine(b"a", 4);
    combine(b"b", 8);
    assert_eq!(
        sum(b"a"),
        Some(Sum { hash: 7, keys: 3 }),
        "over what was flushed"
    );
    let mut batch = Batch::new();
    batch.put(Space::Tree, &b"a"[..], &b""[..]);
    batch.combine(&b"a"[..], sum_block::change(7, Sum { hash: 16, keys: 1 }));
    batch.delete(Space::Tree, &b"b"[..]);
    engine.write(&batch, Persistence::Buffered).expect("writes");
    assert_eq!(
        sum(b"a"),
        Some(Sum { hash: 16, keys: 1 }),
        "in order within a batch"
    );
    assert_eq!(sum(b"b"), None);
    let found = engine.scan(Space::Tree, &KeyRange::default(), ALL);
    assert_eq!(found.expect("scans").len(), 1);
}

fn changes_combine_with_nothing_where_a_range_was_deleted(engine: &dyn Engine) {
    let change = |hash| sum_block::change(7, Sum { hash, keys: 1 });
    let sum = || get(engine, Space::Tree, b"b").map(|block| SumBlock::decode(&block).at(7));
    let mut batch = Batch::new();
    batch.combine(&b"b"[..], change(1));
    engine.write(&batch, Persistence::Synced).expect("writes");
    engine.flush().expect("flushes");
    let mut batch = Batch::new();
    batch.combine(&b"b"[..], change(2));
    batch.delete_range(Space::Tree, &b"a"[..], &b"c"[..]);
    engine.write(&batch, Persistence::Synced).expect("writes");
    assert_eq!(sum(), None);
    let mut batch = Batch::new();
    batch.combine(&b"b"[..], change(4));
    engine.write(&batch, Persistence::Synced).expect("writes");
    assert_eq!(sum(), Some(Sum { hash: 4, keys: 1 }));
    engine.flush().expect("flushes");
    assert_eq!(sum(), Some(Sum { hash: 4, keys: 1 }), "once flushed");
}

fn a_deleted_range_is_gone_and_can_be_filled_again(engine: &dyn Engine) {
    for key in [&b"a"[..], b"b", b"b1", b"b\xff", b"c"] {
        put(engine, Space::Data, key, b"old");
    }
    engine.flush().expect("flushes");
    let before = engine.sequence();
    let mut batch = Batch::new();
    batch.delete_range(Space::Data, &b"b"[..], &b"c"[..]);
    batch.put(Space::Data, &b"b1"[..], &b"new"[..]);
    engine.write(&batch, Persistence::Synced).expect("writes");
    assert!(engine.sequence() >= before + 2, "it counts as a change");
    let range = KeyRange::with_prefix(b"b");
    let mut again = Batch::new();
    again.delete_range(Space::Data, &b"b"[..], &b"b1"[..]);
    engine.drop_files(Space::Data, &range).expect("drops files");
    engine.write(&again, Persistence::Synced).expect("writes");
    let found = engine.scan(Space::Data, &KeyRange::default(), ALL);
    let keys: Vec<_> = found.expect("scans").into_iter().map(|e| e.key).collect();
    assert_eq!(keys, [&b"a"[..], b"b1", b"c"]);
    assert_eq!(get(engine, Space::Data, b"b"), None);
}

fn large_values_come_back(engine: &dyn Engine) {
    let value: Vec<u8> = (0..3 * 1024 * 1024_u32)
        .map(|n| n.to_le_bytes()[(n % 3) as usize])
        .collect();
    put(engine, Space::Data, b"large", &value);
    engine.flush().expect("flushes");
    assert!(get(engine, Space::Data, b"large").is_some_and(|found| found == value));
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = prop::collection::vec(0..3_u8, 1..4);
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..5));
    let write = prop::collection::vec((key, value), 0..6).prop_map(Step::Write);
    prop::collection::vec(prop_oneof![9 => write, 1 => Just(Step::Flush)], 1..20)
}

fn agrees_with_a_sorted_map<E: Engine>(make: &impl Fn() -> E) {
    let mut runner = TestRunner::new(Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(&steps(), |steps| {
        let engine = make();
        let mut model = BTreeMap::new();
        for step in steps {
            take(&engine, &mut model, step);
        }
        let found = engine
            .scan(Space::Data, &KeyRange::default(), ALL)
            .expect("scans");
        let expected: Vec<Entry> = model
            .iter()
            .map(|(key, value): (&Vec<u8>, &Vec<u8>)| Entry {
                key: key.clone().into(),
                value: value.clone().into(),
            })
            .collect();
        prop_assert_eq!(found, expected);
        for (key, value) in &model {
            let found = get(&engine, Space::Data, key);
            prop_assert_eq!(found.as_deref(), Some(&value[..]));
        }
        Ok(())
    });
    result.expect("agrees with a sorted map");
}

fn take(engine: &dyn Engine, model: &mut BTreeMap<Vec<u8>, Vec<u8>>, step: Step) {
    match step {
        Step::Flush => engine.flush().expect("flushes"),
        Step::Write(changes) => {
            let mut batch = Batch::new();
            for (key, value) in changes {
                if let Some(value) = value {
                    batch.put(Space::Data, key.clone(), value.clone());
                    model.insert(key, value);
                } else {
                    batch.delete(Space::Data, key.clone());
                    model.remove(&key);
                }
            }
            engine.write(&batch, Persistence::Buffered).expect("writes");
        }
    }
}
