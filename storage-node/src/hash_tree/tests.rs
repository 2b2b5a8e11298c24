//! The tree's laws.

use std::collections::BTreeMap;

use annulus_causality::{
    Actor, Content, HlcStamp, KeyEpoch, KeyState, NewWrite, VersionVector, VnodeClock, VnodeId,
};
use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::{PartitionCount, PartitionId, Token};
use bytes::Bytes;
use proptest::prelude::*;

use super::shape::{level_one_range, tree_range};
use super::*;
use crate::storage::{
    Batch, Engine, MemoryEngine, Persistence, ScanLimit, Space, SumBlock, key_encoding,
};

const ALL: ScanLimit = ScanLimit {
    entries: usize::MAX,
    bytes: usize::MAX,
};

fn partitions(count: u32) -> PartitionCount {
    PartitionCount::new(count).unwrap()
}

fn state(counter: u64, value: &'static [u8], expires_at_ms: Option<u64>) -> KeyState {
    let mut vnode = VnodeClock::create(VnodeId(7));
    let lease = vnode.needs_lease().unwrap();
    vnode.lease_granted(&lease);
    let mut state = KeyState::new();
    for _ in 0..counter {
        let write = NewWrite {
            content: Content::Value(Bytes::from_static(value)),
            stamp: HlcStamp(counter + state.max_stamp().map_or(0, |stamp| stamp.0) + 1),
            expires_at_ms,
            request_id: None,
        };
        let context = state.context();
        let policy = annulus_causality::ConflictPolicy::Siblings;
        let known = Some(&state).filter(|state| !state.clock().is_empty());
        state = vnode.mint(known, &context, write, policy).unwrap().state;
    }
    state
}

#[test]
fn blocks_are_numbered_without_gaps() {
    for number in 0..4161 {
        assert_eq!(Block::new(number).unwrap().number(), number);
    }
    assert_eq!(Block::new(4161), None);
    assert_eq!(Block::new(0), Some(Block::ROOT));
    let Child::Block(last) = Block::ROOT.child(63) else {
        panic!("no block")
    };
    let Child::Block(last) = last.child(63) else {
        panic!("no block")
    };
    assert_eq!(last.number(), 4160);
    assert_eq!(last.child(63), Child::Leaf(Leaf::new(LEAVES - 1).unwrap()));
    assert_eq!((last.end(), Block::ROOT.end()), (LEAVES, LEAVES));
}

#[test]
fn values_and_expiry_change_no_hash() {
    let (one, other) = (state(3, b"value", None), state(3, b"", Some(99)));
    assert!(one.same_as(&other) && one != other);
    assert_eq!(sum_of(b"key", Some(&one)), sum_of(b"key", Some(&other)));
    assert_ne!(sum_of(b"key", Some(&one)), sum_of(b"kez", Some(&one)));
    assert_ne!(
        sum_of(b"key", Some(&one)),
        sum_of(b"key", Some(&state(2, b"value", None)))
    );
}

/// Stored trees depend on these values: they may never change.
#[test]
fn hashes_are_a_stored_format() {
    let clock: VersionVector = [(Actor::new(VnodeId(1), KeyEpoch(2)), 3)]
        .into_iter()
        .collect();
    let mut state = KeyState::new();
    state.discard(&clock);
    let sum = sum_of(b"key", Some(&state));
    assert_eq!(
        (sum.hash, sum.keys),
        (HASH_OF_ONE_KEY, 1),
        "{:#x}",
        sum.hash
    );
}

const HASH_OF_ONE_KEY: u64 = 0xab90_5b00_423e_2b2f;

/// One write of the property below: which key, and how far its state has come.
type Step = (u8, u64, bool);

proptest! {
    #[test]
    fn a_leaf_is_one_range_of_the_data(bits in 0..=14_u32, token: u64, other: u64) {
        let count = partitions(1 << bits);
        let (token, other) = (Token(token), Token(other));
        let (leaf, range) = (Leaf::of(count, token), Leaf::of(count, token).range(count, count.of(token)));
        let stored = |token| {
            let key = Key::new(&b"k"[..]).unwrap();
            key_encoding::encode(count.of(token), token, &KeyspaceName::kv(), &key)
        };
        let holds = |key: &[u8]| key >= &range.start[..] && range.end.as_ref().is_none_or(|end| key < &end[..]);
        prop_assert!(holds(&stored(token)));
        let same = count.of(other) == count.of(token) && Leaf::of(count, other) == leaf;
        prop_assert_eq!(holds(&stored(other)), same);
    }

    #[test]
    fn a_tree_kept_write_by_write_is_the_tree_of_the_data(
        steps in prop::collection::vec((0..6_u8, 1..4_u64, prop::bool::weighted(0.8)), 1..40),
        group in 1..5_usize,
    ) {
        let count = partitions(2);
        let partition = PartitionId(1);
        let engine = MemoryEngine::new();
        let mut data: BTreeMap<u8, KeyState> = BTreeMap::new();
        let place = |key: u8| {
            let token = Token(1 << 63 | u64::from(key) << 61 >> 1 | u64::from(key));
            (Leaf::of(count, token), [key])
        };
        let mut root = SumBlock::default();
        for group in steps.chunks(group) {
            let mut changes = Changes::default();
            for &(key, counter, stays) in group as &[Step] {
                let (leaf, stored) = place(key);
                let after = stays.then(|| state(counter, b"v", None));
                changes.add(leaf, &stored, data.get(&key), after.as_ref());
                match after {
                    Some(after) => data.insert(key, after),
                    None => data.remove(&key),
                };
            }
            let mut batch = Batch::new();
            changes.put_into(&mut batch, partition);
            engine.write(&batch, Persistence::Synced).unwrap();
            root.combine(&changes.root().encode());
        }
        let mut expected = Changes::default();
        for (key, state) in &data {
            let (leaf, stored) = place(*key);
            expected.add(leaf, &stored, None, Some(state));
        }
        let stored = engine.scan(Space::Tree, &tree_range(partition), ALL).unwrap();
        let stored: BTreeMap<_, _> = stored
            .iter()
            .map(|entry| (Block::of_stored_key(&entry.key).unwrap().1, SumBlock::decode(&entry.value)))
            .filter(|(_, block)| *block != SumBlock::default())
            .collect();
        let mut blocks = expected.blocks();
        blocks.retain(|_, block| *block != SumBlock::default());
        prop_assert_eq!(stored, blocks);
        prop_assert_eq!(&root, &expected.root());
        let level_one = engine.scan(Space::Tree, &level_one_range(partition), ALL).unwrap();
        let level_one = level_one.iter().map(|entry| (&entry.key[..], &entry.value[..]));
        prop_assert_eq!(root_of(level_one), root.clone());
        prop_assert_eq!(root.total().keys as usize, data.len());
    }
}
