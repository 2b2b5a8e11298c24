//! Hash trees: kept with the data, built over data that has none, and compared.

use std::time::Duration;

use annulus_causality::KeyState;
use annulus_ring::{PartitionCount, PartitionId};

use super::fixture::{Fixture, merge, partitions, write};
use crate::antientropy::exchange::{Exchange, Outcome, RoundLimit, Step};
use crate::hash_tree::{self as tree, Way};
use crate::replica::{ReplicaError, stored_tree};
use crate::storage::{
    Batch, Engine, KeyRange, Persistence, ScanLimit, Space, Sum, SumBlock, key_encoding, sum_block,
};

const ALL: ScanLimit = ScanLimit {
    entries: usize::MAX,
    bytes: usize::MAX,
};

fn count() -> PartitionCount {
    PartitionCount::new(8).unwrap()
}

impl Fixture {
    /// Every vnode's tree, in memory and stored, is that of the data; how many keys there are.
    pub(super) async fn check_trees(&self) -> u32 {
        let mut keys = 0;
        for partition in partitions() {
            let range = key_encoding::partition_range(partition);
            let recomputed = stored_tree::recompute(self.engine.as_ref(), count(), &range);
            let recomputed = recomputed.unwrap();
            assert_eq!(recomputed.unreadable, 0);
            let right = recomputed.tree;
            let mut blocks = right.blocks();
            let range = tree::tree_range(partition);
            for entry in self.engine.scan(Space::Tree, &range, ALL).unwrap() {
                let (_, block) = tree::Block::of_stored_key(&entry.key).unwrap();
                let right = blocks.remove(&block).unwrap_or_default();
                assert_eq!(SumBlock::decode(&entry.value), right, "{block:?}");
            }
            assert!(blocks.is_empty(), "missing: {:?}", blocks.keys());
            let root = self.replica.tree_root(partition).await.unwrap();
            assert_eq!(root, right.root().total(), "{partition}");
            keys += root.keys;
        }
        keys
    }

    async fn fill(&self, keys: std::ops::Range<u32>) {
        for key in keys {
            self.put(&self.kv(&format!("key-{key}")), "value").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_is_that_of_the_data_whatever_wrote_it() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.check_trees().await, 0, "and is in memory from here");
    fixture.fill(0..20).await;
    fixture.put(&fixture.kv("key-1"), "again").await;
    fixture.put(&fixture.fast("async"), "value").await;
    fixture.put(&fixture.data("last writer"), "one").await;
    fixture.put(&fixture.data("last writer"), "two").await;
    let delete = crate::replica::Write {
        content: None,
        ..write(&fixture.kv("key-2"), "")
    };
    let minted = fixture.replica.mint(delete).await.unwrap();
    minted.durable.await.unwrap();
    let elsewhere = Fixture::new().await;
    elsewhere.fill(10..30).await;
    for key in 10..30 {
        let address = elsewhere.kv(&format!("key-{key}"));
        let state = elsewhere.replica.read(&address).await.unwrap().unwrap();
        fixture
            .replica
            .merge(merge(&address, &state))
            .await
            .unwrap();
    }
    assert_eq!(fixture.check_trees().await, 32);
    let fixture = fixture.restart().await;
    fixture
        .put(&fixture.kv("before anybody looked"), "value")
        .await;
    assert_eq!(fixture.check_trees().await, 33);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_a_program_that_kept_no_trees_gets_them() {
    let fixture = Fixture::new().await;
    fixture.fill(0..50).await;
    let mut batch = Batch::new();
    for entry in fixture
        .engine
        .scan(Space::Tree, &KeyRange::default(), ALL)
        .unwrap()
    {
        batch.delete(Space::Tree, entry.key);
    }
    batch.delete(Space::Meta, &b"trees"[..]);
    fixture.engine.write(&batch, Persistence::Synced).unwrap();
    let fixture = fixture.restart().await;
    fixture.replica.keep_trees(count()).await.unwrap();
    assert_eq!(fixture.check_trees().await, 50);
    fixture.replica.keep_trees(count()).await.unwrap();
    assert_eq!(fixture.check_trees().await, 50, "only once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vnode_gives_up_its_tree_with_its_data_and_gets_one_as_it_is_filled() {
    let fixture = Fixture::new().await;
    fixture.fill(0..50).await;
    assert_eq!(
        fixture.check_trees().await,
        50,
        "and is in memory from here"
    );
    let key = fixture.kv("key-7");
    let partition = key.partition();
    let replica = &fixture.replica;
    let states = replica.states(partition, None, usize::MAX).await.unwrap();
    replica.give_up(partition, 1).await.unwrap();
    let blocks = fixture
        .engine
        .scan(Space::Tree, &tree::tree_range(partition), ALL);
    assert!(blocks.unwrap().is_empty());
    let refused = [
        replica.tree_root(partition).await.err(),
        replica
            .tree_blocks(partition, vec![tree::Block::ROOT])
            .await
            .err(),
        replica
            .leaf_keys(count(), partition, Vec::new())
            .await
            .err(),
    ];
    for refused in refused {
        let refused = refused.expect("nobody compares with a vnode that lacks its data");
        assert!(
            matches!(refused, ReplicaError::Rebuilding { .. }),
            "{refused}"
        );
    }
    for stored in &states.states {
        let address = fixture.kv(&stored.key.to_string());
        let state = KeyState::decode(&stored.state).unwrap();
        replica.merge(merge(&address, &state)).await.unwrap();
    }
    replica.serve(partition, 2).await.unwrap();
    assert_eq!(fixture.check_trees().await, 50);
    let fixture = fixture.restart().await;
    assert_eq!(fixture.check_trees().await, 50, "and on disk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_met_by_a_scrub_or_a_comparison_is_noted() {
    for scrubbed in [true, false] {
        let fixture = Fixture::new().await;
        let key = fixture.kv("k");
        fixture.put(&key, "v").await;
        fixture.engine.damage_the_only_record();
        let replica = &fixture.replica;
        if scrubbed {
            let mut next = Some(0);
            while let Some(first) = next {
                let part = replica.scrub(count(), key.partition(), first).await;
                next = part.unwrap().next;
            }
        } else {
            let leaves = vec![key.leaf()];
            let keys = replica.leaf_keys(count(), key.partition(), leaves).await;
            assert!(keys.unwrap()[0].keys.is_none());
        }
        let unsound = replica.unsound();
        assert!(unsound[0].is_damaged && unsound[0].partition == key.partition());
    }
}

/// Compares two replicas' copies of a partition and moves what differs.
async fn compare(one: &Fixture, other: &Fixture, partition: PartitionId) -> Outcome {
    let confirm_after = Duration::from_millis(1);
    let (mut exchange, mut step) = Exchange::begin(RoundLimit::default(), confirm_after);
    let (mine, theirs) = (&one.replica, &other.replica);
    loop {
        step = match step {
            Step::Compare(blocks) => exchange.compared(
                &mine.tree_blocks(partition, blocks.clone()).await.unwrap(),
                &theirs.tree_blocks(partition, blocks).await.unwrap(),
            ),
            Step::List(leaves) => exchange.listed(
                mine.leaf_keys(count(), partition, leaves.clone())
                    .await
                    .unwrap(),
                theirs.leaf_keys(count(), partition, leaves).await.unwrap(),
            ),
            Step::Wait(_) => exchange.waited(),
            Step::Move(moves) => {
                for each in moves {
                    let address = one.kv(&each.key.to_string());
                    let (from, to) = match each.way {
                        Way::Pull => (theirs, mine),
                        Way::Push => (mine, theirs),
                        Way::Both => panic!("nobody wrote concurrently"),
                    };
                    let state = from.read(&address).await.unwrap().unwrap();
                    let merged = to.merge(merge(&address, &state)).await.unwrap();
                    assert!(merged.changed, "needless");
                }
                exchange.moved(0)
            }
            Step::End(outcome) => return outcome,
        };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_differing_keys_cost_few_blocks_and_ten_moves() {
    let (one, other) = (Fixture::new().await, Fixture::new().await);
    let in_partition: Vec<String> = (0..)
        .map(|number| format!("key-{number}"))
        .filter(|key| one.kv(key).partition() == PartitionId(3))
        .take(3000)
        .collect();
    for (number, key) in in_partition.iter().enumerate() {
        let address = one.kv(key);
        if number % 300 == 7 {
            // Five that the one lacks, five that the other lacks.
            let owner = if number % 600 == 7 { &one } else { &other };
            owner.put(&address, "value").await;
            continue;
        }
        one.put(&address, "value").await;
        let state = one.replica.read(&address).await.unwrap().unwrap();
        other.replica.merge(merge(&address, &state)).await.unwrap();
    }
    let outcome = compare(&one, &other, PartitionId(3)).await;
    assert_eq!((outcome.keys, outcome.suspects), (10, 10));
    assert!(outcome.blocks <= 25, "{} blocks", outcome.blocks);
    let root = |fixture: &Fixture| {
        let replica = fixture.replica.clone();
        async move { replica.tree_root(PartitionId(3)).await.unwrap() }
    };
    let (mine, theirs): (Sum, Sum) = (root(&one).await, root(&other).await);
    assert_eq!((mine, mine.keys), (theirs, 3000));
    assert_eq!(one.check_trees().await, 3000);
    let again = compare(&one, &other, PartitionId(3)).await;
    assert_eq!((again.blocks, again.keys), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrub_finds_wrong_sums_and_puts_them_right() {
    let fixture = Fixture::new().await;
    fixture.fill(0..50).await;
    assert_eq!(fixture.check_trees().await, 50);
    let scrub = async || {
        let mut all = crate::replica::Scrubbed::default();
        for partition in partitions() {
            let mut next = Some(0);
            while let Some(first) = next {
                let part = fixture
                    .replica
                    .scrub(count(), partition, first)
                    .await
                    .unwrap();
                all.bytes += part.bytes;
                all.wrong += part.wrong;
                next = part.next;
            }
        }
        all
    };
    let clean = scrub().await;
    assert_eq!(clean.wrong, 0);
    assert!(clean.bytes > 50 * 20, "{clean:?}");
    // A sum of a leaf, and one of level 1 in another partition.
    let mut batch = Batch::new();
    let by = sum_block::change(9, Sum { hash: 77, keys: 1 });
    let (leaves, above) = (tree::Block::new(65).unwrap(), tree::Block::new(3).unwrap());
    batch.combine(leaves.stored_key(PartitionId(2)), by.clone());
    batch.combine(above.stored_key(PartitionId(5)), by);
    fixture.engine.write(&batch, Persistence::Synced).unwrap();
    assert_eq!(scrub().await.wrong, 2);
    assert_eq!(scrub().await.wrong, 0);
    let fixture = fixture.restart().await;
    assert_eq!(fixture.check_trees().await, 50);
}
