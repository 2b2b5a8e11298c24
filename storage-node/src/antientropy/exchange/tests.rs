//! Two copies in memory, compared step by step.

use annulus_causality::{Actor, KeyEpoch, KeyState, VersionVector, VnodeId};
use annulus_ring::{PartitionCount, Token};
use proptest::prelude::*;

use super::*;
use crate::hash_tree::Changes;

/// A copy: for each key how far its clock has come.
type Copy = BTreeMap<u32, u64>;

fn name(key: u32) -> Key {
    Key::new(key.to_be_bytes().to_vec()).unwrap()
}

fn number(key: &Key) -> u32 {
    u32::from_be_bytes(key.as_bytes().try_into().unwrap())
}

fn leaf_of(key: u32) -> Leaf {
    let spread = u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Leaf::of(PartitionCount::new(1).unwrap(), Token(spread))
}

fn state(counter: u64) -> KeyState {
    let actor = Actor::new(VnodeId(1), KeyEpoch(1));
    let clock: VersionVector = [(actor, counter)].into_iter().collect();
    let mut state = KeyState::new();
    state.discard(&clock);
    state
}

fn blocks(copy: &Copy, asked: &[Block]) -> Vec<SumBlock> {
    let mut tree = Changes::default();
    for (key, counter) in copy {
        tree.add(
            leaf_of(*key),
            &key.to_be_bytes(),
            None,
            Some(&state(*counter)),
        );
    }
    let (root, mut below) = (tree.root(), tree.blocks());
    let one = |block: &Block| match *block {
        Block::ROOT => root.clone(),
        block => below.remove(&block).unwrap_or_default(),
    };
    asked.iter().map(one).collect()
}

fn list(copy: &Copy, leaves: &[Leaf]) -> Vec<LeafKeys> {
    let keys_of = |leaf: Leaf| {
        let keys = copy.iter().filter(move |(key, _)| leaf_of(**key) == leaf);
        let summary = |(key, counter): (&u32, &u64)| KeySummary {
            keyspace: KeyspaceName::kv(),
            key: name(*key),
            clock: state(*counter).clock().clone(),
            dots: Vec::new(),
        };
        keys.map(summary).collect()
    };
    let one = |leaf: &Leaf| LeafKeys {
        leaf: *leaf,
        keys: Some(keys_of(*leaf)),
    };
    leaves.iter().map(one).collect()
}

/// Runs an exchange; `meanwhile` happens in each pause.
fn exchange(
    mine: &mut Copy,
    theirs: &mut Copy,
    limit: RoundLimit,
    meanwhile: impl FnMut(&mut Copy, &mut Copy),
) -> (Outcome, Vec<KeyMove>) {
    let begun = Exchange::begin(limit, Duration::from_millis(300));
    to_the_end(mine, theirs, begun, meanwhile)
}

fn to_the_end(
    mine: &mut Copy,
    theirs: &mut Copy,
    (mut exchange, mut step): (Exchange, Step),
    mut meanwhile: impl FnMut(&mut Copy, &mut Copy),
) -> (Outcome, Vec<KeyMove>) {
    let mut moved = Vec::new();
    for _ in 0..1_000_000 {
        step = match step {
            Step::Compare(asked) => {
                exchange.compared(&blocks(mine, &asked), &blocks(theirs, &asked))
            }
            Step::List(leaves) => exchange.listed(list(mine, &leaves), list(theirs, &leaves)),
            Step::Wait(pause) => {
                assert_eq!(pause, Duration::from_millis(300));
                meanwhile(mine, theirs);
                exchange.waited()
            }
            Step::Move(moves) => {
                for each in &moves {
                    let key = number(&each.key);
                    let (here, there) = (mine.get(&key).copied(), theirs.get(&key).copied());
                    let way = if here < there { Way::Pull } else { Way::Push };
                    assert_eq!(each.way, way);
                    let newest = here.max(there).unwrap();
                    mine.insert(key, newest);
                    theirs.insert(key, newest);
                }
                moved.extend(moves);
                exchange.moved(0)
            }
            Step::End(outcome) => return (outcome, moved),
        };
    }
    panic!("it does not end");
}

fn copy(keys: std::ops::Range<u32>) -> Copy {
    keys.map(|key| (key, 1)).collect()
}

#[test]
fn equal_copies_cost_one_block() {
    let (mut mine, mut theirs) = (copy(0..500), copy(0..500));
    let (outcome, moved) = exchange(&mut mine, &mut theirs, RoundLimit::default(), |_, _| {});
    assert_eq!((outcome.blocks, moved.len()), (1, 0));
}

#[test]
fn ten_of_many_keys_cost_few_blocks_and_ten_moves() {
    let (mut mine, mut theirs) = (copy(0..20_000), copy(0..20_000));
    for key in 0..5 {
        theirs.insert(key * 999, 2);
        mine.remove(&(key * 777 + 1));
    }
    let (outcome, moved) = exchange(&mut mine, &mut theirs, RoundLimit::default(), |_, _| {});
    assert!(outcome.blocks <= 21, "{outcome:?}");
    assert_eq!((outcome.keys, moved.len()), (10, 10));
    assert_eq!(mine, theirs);
}

#[test]
fn a_write_under_way_is_not_repaired() {
    let (mut mine, mut theirs) = (copy(0..500), copy(0..500));
    mine.insert(7, 2);
    theirs.insert(9, 2);
    theirs.insert(11, 2);
    let arrive = |mine: &mut Copy, theirs: &mut Copy| {
        theirs.insert(7, 2);
        // Came, and the next is under way.
        mine.insert(9, 3);
    };
    let (outcome, moved) = exchange(&mut mine, &mut theirs, RoundLimit::default(), arrive);
    let moved: Vec<u32> = moved.iter().map(|each| number(&each.key)).collect();
    assert_eq!((outcome.suspects, moved), (3, vec![11]));
}

#[test]
fn who_is_left_brings_all_that_it_has_however_often_the_others_change() {
    let (mut mine, mut theirs) = (copy(0..500), copy(0..500));
    mine.insert(7, 2);
    theirs.insert(9, 2);
    let (exchange, step) = Exchange::begin(RoundLimit::default(), Duration::from_millis(300));
    let never = |_: &mut Copy, _: &mut Copy| panic!("there is no second look");
    let (outcome, moved) = to_the_end(&mut mine, &mut theirs, (exchange.at_once(), step), never);
    assert_eq!((outcome.pushes, moved.len()), (1, 2));
    assert_eq!(mine, theirs);
}

#[test]
fn a_leaf_that_cannot_be_read_is_left_alone() {
    let (mine, theirs) = (copy(0..500), copy(0..499));
    let (mut exchange, mut step) = Exchange::begin(RoundLimit::default(), Duration::ZERO);
    let outcome = loop {
        step = match step {
            Step::Compare(asked) => {
                exchange.compared(&blocks(&mine, &asked), &blocks(&theirs, &asked))
            }
            Step::List(leaves) => {
                let mut damaged = list(&theirs, &leaves);
                for leaf in &mut damaged {
                    leaf.keys = None;
                }
                exchange.listed(list(&mine, &leaves), damaged)
            }
            Step::End(outcome) => break outcome,
            other => panic!("{other:?}"),
        };
    };
    assert_eq!((outcome.unreadable, outcome.keys), (1, 0));
    assert!(!outcome.is_complete());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn copies_are_the_same_afterwards_however_small_the_rounds(
        mine in prop::collection::btree_map(0..200_u32, 1..4_u64, 0..120),
        theirs in prop::collection::btree_map(0..200_u32, 1..4_u64, 0..120),
        blocks in 1..9_usize,
        leaves in 1..9_usize,
    ) {
        let differ = (0..200).filter(|key| mine.get(key) != theirs.get(key)).count();
        let (mut mine, mut theirs) = (mine, theirs);
        let limit = RoundLimit { blocks, leaves };
        let (outcome, moved) = exchange(&mut mine, &mut theirs, limit, |_, _| {});
        prop_assert_eq!(moved.len(), differ);
        prop_assert_eq!(outcome.keys, differ);
        prop_assert_eq!(mine, theirs);
    }
}
