//! What comparing two copies of a large vnode costs, and what the hash tree costs each write.
//!
//! Prints its figures and fails when the promised ones are not kept: of 1,000,000 keys 10 differ; at most
//! 25 blocks are read on each side and exactly 10 keys move. `ANNULUS_BENCH_KEYS` takes another number of keys.
#![allow(missing_docs, reason = "a program")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annulus_causality::{
    Actor, ConflictPolicy as Rule, Content, HlcStamp, KeyEpoch, KeyState, NewWrite, VersionVector,
    VnodeClock, VnodeId,
};
use annulus_node::antientropy::exchange::{Exchange, KeyMove, Outcome, RoundLimit, Step};
use annulus_node::clock::{Clock, SystemClock};
use annulus_node::entropy::SystemRandomness;
use annulus_node::hash_tree::{Changes, Leaf, LeafKeys, Way};
use annulus_node::keyspace::{ConflictPolicy, Durability, Keyspace};
use annulus_node::replica::{KeyAddress, Merge, Replica, ReplicaOptions};
use annulus_node::storage::{
    Batch, DataDir, Engine, Persistence, RocksEngine, RocksOptions, Space, Store, SumBlock,
    key_encoding,
};
use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::{HashSeed, PartitionCount, PartitionId, Placement, RingEpoch, Token};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use prometheus_client::registry::Registry;

#[path = "../tests/one_node/mod.rs"]
mod one_node;

const KEYS: u64 = 1_000_000;
const DIFFERENT: u64 = 10;
const BLOCKS_AT_MOST: usize = 25;
const VALUE_BYTES: usize = 100;
const CONFIRM_AFTER: Duration = Duration::from_millis(300);
const PARTITION: PartitionId = PartitionId(0);

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    cost_per_write();
    let runtime = tokio::runtime::Runtime::new().expect("starts");
    runtime.block_on(compare_large_vnodes());
}

/// One node's copy, in RocksDB.
struct Copy {
    replica: Replica,
    placement: Placement,
    keyspace: Arc<Keyspace>,
}

impl Copy {
    async fn open(directory: &Path) -> Self {
        let data_dir = DataDir::open(directory, &SystemRandomness).expect("opens");
        let store = Store::open(&data_dir, &RocksOptions::default()).expect("opens");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (options, mut registry) = (ReplicaOptions::default(), Registry::default());
        let randomness = Arc::new(SystemRandomness);
        let replica = Replica::start(&options, store, &clock, randomness, &mut registry);
        let replica = replica.expect("starts");
        let placement = one_node::placement(data_dir.node_id(), 1);
        let trees = replica.keep_trees(placement.partitions());
        trees.await.expect("keeps trees");
        let all = placement.partitions().ids().collect();
        replica.own(all, RingEpoch::FIRST).await.expect("owns");
        // Filling it need not wait for the disk.
        let keyspace = Keyspace::new(KeyspaceName::kv(), ConflictPolicy::Siblings);
        let keyspace = Arc::new(Keyspace {
            durability: Durability::Async,
            ..keyspace
        });
        Self {
            replica,
            placement,
            keyspace,
        }
    }

    fn at(&self, key: Key) -> KeyAddress {
        KeyAddress::of(&self.placement, self.keyspace.clone(), key)
    }

    /// Whether it changed anything.
    async fn merge(&self, key: Key, state: KeyState) -> bool {
        let merge = Merge {
            address: self.at(key),
            state,
            deadline: SystemClock.now() + Duration::from_secs(60),
            fence: RingEpoch::FIRST,
        };
        self.replica.merge(merge).await.expect("merges").changed
    }

    async fn fill(&self, keys: u64, has: impl Fn(u64) -> Option<u64>) {
        let merges = (0..keys).filter_map(|key| has(key).map(|counter| (key, counter)));
        let merges = merges.map(|(key, counter)| self.merge(name(key), state(counter)));
        stream::iter(merges)
            .buffer_unordered(2048)
            .for_each(|_| futures::future::ready(()))
            .await;
    }
}

fn name(key: u64) -> Key {
    Key::new(format!("key-{key:09}")).expect("short")
}

/// A state that has come so far.
fn state(counter: u64) -> KeyState {
    let mut vnode = VnodeClock::create(VnodeId(7));
    let lease = vnode.needs_lease().expect("a new vnode has none");
    vnode.lease_granted(&lease);
    let write = NewWrite {
        content: Content::Value(Bytes::from(vec![b'v'; VALUE_BYTES])),
        stamp: HlcStamp(counter),
        expires_at_ms: None,
        request_id: None,
    };
    let known = Actor::new(VnodeId(8), KeyEpoch(1));
    let context: VersionVector = [(known, counter)].into_iter().collect();
    let mut base = KeyState::new();
    base.discard(&context);
    let minted = vnode.mint(Some(&base), &context, write, Rule::Siblings);
    minted.expect("mints").state
}

/// What passed between the two.
#[derive(Debug, Default)]
struct Passed {
    bytes: usize,
    pushed: usize,
    pulled: usize,
    needless: usize,
}

async fn compare_large_vnodes() {
    let keys =
        std::env::var("ANNULUS_BENCH_KEYS").map_or(KEYS, |keys| keys.parse().expect("a number"));
    let directories = [
        tempfile::tempdir().expect("makes"),
        tempfile::tempdir().expect("makes"),
    ];
    let (mine, theirs) = (
        Copy::open(directories[0].path()).await,
        Copy::open(directories[1].path()).await,
    );
    let began = now();
    let step = keys / DIFFERENT;
    // Five are newer here; of the other five three are older here and two are missing.
    let here = |key| match (key % step, key / step) {
        (17, 0..5) => Some(3),
        (17, 8..) => None,
        _ => Some(2),
    };
    let there = |key| {
        Some(if key % step == 17 && (5..8).contains(&(key / step)) {
            3
        } else {
            2
        })
    };
    tokio::join!(mine.fill(keys, here), theirs.fill(keys, there));
    println!(
        "filled two copies with {keys} keys in {:.1} s",
        began.elapsed().as_secs_f64()
    );

    // The root blocks are read once after a start.
    for copy in [&mine, &theirs] {
        let began = now();
        let root = copy.replica.tree_root(PARTITION).await.expect("reads");
        println!(
            "root block of {} keys read in {:.1} ms",
            root.keys,
            milliseconds(began.elapsed())
        );
    }
    let began = now();
    let (outcome, passed) = compare(&mine, &theirs).await;
    let took = began.elapsed();
    println!(
        "{keys} keys of which {DIFFERENT} differ: {} blocks read per side, {} leaves, {} keys moved ({} pulled, {} pushed), \
         {} bytes, {:.1} ms and the pause of {} ms",
        outcome.blocks,
        outcome.leaves,
        outcome.keys,
        passed.pulled,
        passed.pushed,
        passed.bytes,
        milliseconds(took.saturating_sub(CONFIRM_AFTER)),
        CONFIRM_AFTER.as_millis(),
    );
    assert!(
        outcome.blocks <= BLOCKS_AT_MOST,
        "{} blocks",
        outcome.blocks
    );
    assert_eq!((outcome.keys as u64, passed.needless), (DIFFERENT, 0));
    let began = now();
    let (again, _) = compare(&mine, &theirs).await;
    println!(
        "again: {} block, {:.2} ms",
        again.blocks,
        milliseconds(began.elapsed())
    );
    assert_eq!((again.blocks, again.keys), (1, 0), "they are the same now");
    mine.replica.stop().await.expect("stops");
    theirs.replica.stop().await.expect("stops");
}

async fn compare(mine: &Copy, theirs: &Copy) -> (Outcome, Passed) {
    let mut passed = Passed::default();
    let (mut exchange, mut step) = Exchange::begin(RoundLimit::default(), CONFIRM_AFTER);
    let partitions = mine.placement.partitions();
    loop {
        step = match step {
            Step::Compare(blocks) => {
                let here = mine.replica.tree_blocks(PARTITION, blocks.clone());
                let there = theirs.replica.tree_blocks(PARTITION, blocks);
                let (here, there) = (here.await.expect("reads"), there.await.expect("reads"));
                passed.bytes += there
                    .iter()
                    .map(|block| block.encode().len())
                    .sum::<usize>();
                exchange.compared(&here, &there)
            }
            Step::List(leaves) => {
                let here = mine
                    .replica
                    .leaf_keys(partitions, PARTITION, leaves.clone());
                let there = theirs.replica.leaf_keys(partitions, PARTITION, leaves);
                let (here, there) = (here.await.expect("lists"), there.await.expect("lists"));
                passed.bytes += there.iter().map(listed_bytes).sum::<usize>();
                exchange.listed(here, there)
            }
            Step::Wait(pause) => {
                tokio::time::sleep(pause).await;
                exchange.waited()
            }
            Step::Move(moves) => {
                for each in moves {
                    move_key(mine, theirs, each, &mut passed).await;
                }
                exchange.moved(0)
            }
            Step::End(outcome) => return (outcome, passed),
        };
    }
}

async fn move_key(mine: &Copy, theirs: &Copy, each: KeyMove, passed: &mut Passed) {
    let (from, to) = match each.way {
        Way::Pull => (theirs, mine),
        Way::Push => (mine, theirs),
        Way::Both => panic!("nothing was written on both sides"),
    };
    match each.way {
        Way::Pull => passed.pulled += 1,
        _ => passed.pushed += 1,
    }
    let state = from.replica.read(&from.at(each.key.clone())).await;
    let state = state.expect("reads").expect("was listed");
    passed.bytes += state.encode().len();
    passed.needless += usize::from(!to.merge(each.key, state).await);
}

/// About what a leaf's keys take in a message.
fn listed_bytes(leaf: &LeafKeys) -> usize {
    let keys = leaf.keys.iter().flatten();
    keys.map(|key| 16 + key.key.as_bytes().len() + 20 * (key.clock.len() + key.dots.len()))
        .sum()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// How a write's batch comes about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    /// Data alone.
    None,
    /// Data and changes to be combined.
    Combined,
    /// Data and blocks, read and written whole.
    ReadAndPut,
}

/// The same records through the engine, without a tree and with it, in groups as the committer makes them.
fn cost_per_write() {
    const WRITES: u64 = 200_000;
    for (persistence, name, group, writes) in [
        (Persistence::Buffered, "no fsync, groups of 64", 64, WRITES),
        (Persistence::Synced, "fsync, groups of 64", 64, WRITES / 4),
        (Persistence::Synced, "fsync, groups of 1", 1, WRITES / 100),
    ] {
        let measure = |tree| write_all(tree, persistence, group, writes);
        let [without, combined, put] = [Tree::None, Tree::Combined, Tree::ReadAndPut].map(measure);
        let per_write = |time: Duration| time.as_secs_f64() * 1e6 / writes as f64;
        println!(
            "a write of {VALUE_BYTES} bytes, {name}: {:.2} us without a tree, {:.2} us with one (x {:.2}); read and put instead: {:.2} us (x {:.2})",
            per_write(without),
            per_write(combined),
            combined.as_secs_f64() / without.as_secs_f64(),
            per_write(put),
            put.as_secs_f64() / without.as_secs_f64(),
        );
    }
}

fn write_all(tree: Tree, persistence: Persistence, group: u64, writes: u64) -> Duration {
    let directory = tempfile::tempdir().expect("makes");
    let engine = RocksEngine::open(directory.path(), &RocksOptions::default()).expect("opens");
    let partitions = PartitionCount::new(64).expect("a power of two");
    let (old, new) = (state(1), state(2));
    let record = new.encode();
    let began = now();
    for first in (0..writes).step_by(usize::try_from(group).expect("small")) {
        let (mut batch, mut trees) = (Batch::new(), std::collections::BTreeMap::new());
        for number in first..(first + group).min(writes) {
            let key = name(number);
            let token = Token::of(HashSeed(7), "kv", key.as_bytes());
            let partition = partitions.of(token);
            let stored = key_encoding::encode(partition, token, &KeyspaceName::kv(), &key);
            // The committer reads the old state in any case.
            let known = engine.get(Space::Data, &stored).expect("reads");
            assert!(known.is_none());
            if tree != Tree::None {
                let changes: &mut Changes = trees.entry(partition).or_default();
                changes.add(Leaf::of(partitions, token), &stored, Some(&old), Some(&new));
            }
            batch.put(Space::Data, stored, record.clone());
        }
        for (partition, changes) in &trees {
            if tree == Tree::Combined {
                changes.put_into(&mut batch, *partition);
                continue;
            }
            for (block, change) in changes.blocks() {
                let key = block.stored_key(*partition);
                let stored = engine.get(Space::Tree, &key).expect("reads");
                let mut sums = SumBlock::decode(&stored.unwrap_or_default());
                sums.combine(&change.encode());
                batch.put(Space::Tree, key, sums.encode());
            }
        }
        engine.write(&batch, persistence).expect("writes");
    }
    began.elapsed()
}
