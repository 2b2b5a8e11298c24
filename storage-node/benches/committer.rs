//! What the replica can write: synced puts a second by number of callers, and whether large
//! values are better off in blob files.
//!
//! Figures depend on the disk's fsync: compare them with `log_sync_seconds` of the same machine.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annulus_causality::VersionVector;
use annulus_node::clock::{Clock, SystemClock};
use annulus_node::entropy::SystemRandomness;
use annulus_node::keyspace::{ConflictPolicy, Keyspace};
use annulus_node::replica::{KeyAddress, Replica, ReplicaOptions, Write};
use annulus_node::storage::{DataDir, RocksOptions, Store};
use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::{Placement, RingEpoch};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prometheus_client::registry::Registry;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

#[path = "../tests/one_node/mod.rs"]
mod one_node;

const KEYS: u64 = 2000;

struct Target {
    replica: Replica,
    placement: Placement,
    keyspace: Arc<Keyspace>,
    clock: Arc<dyn Clock>,
}

impl Target {
    async fn open(directory: &Path, options: &RocksOptions) -> Arc<Self> {
        let data_dir = DataDir::open(directory, &SystemRandomness).expect("opens");
        let store = Store::open(&data_dir, options).expect("opens");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let replica = Replica::start(
            &ReplicaOptions::default(),
            store,
            &clock,
            Arc::new(SystemRandomness),
            &mut Registry::default(),
        );
        let replica = replica.expect("starts");
        let placement = one_node::placement(data_dir.node_id(), 256);
        let all = placement.partitions().ids().collect();
        replica.own(all, RingEpoch::FIRST).await.expect("owns");
        // Last writer wins: keys stay of one size however often they are written.
        let keyspace = Arc::new(Keyspace::new(KeyspaceName::data(), ConflictPolicy::Lww));
        Arc::new(Self {
            replica,
            placement,
            keyspace,
            clock,
        })
    }

    async fn put(&self, n: u64, value: Bytes) {
        let key = Key::new(format!("key-{}", n % KEYS)).expect("short");
        let write = Write {
            address: KeyAddress::of(&self.placement, self.keyspace.clone(), key),
            content: Some(value),
            context: VersionVector::new(),
            ttl: None,
            request_id: None,
            deadline: self.clock.now() + Duration::from_secs(60),
            fence: RingEpoch::FIRST,
        };
        let minted = self.replica.mint(write).await.expect("mints");
        minted.durable.await.expect("is durable");
    }

    async fn get(&self, n: u64) {
        let key = Key::new(format!("key-{}", n % KEYS)).expect("short");
        let address = KeyAddress::of(&self.placement, self.keyspace.clone(), key);
        black_box(self.replica.read(&address).await.expect("reads"));
    }
}

/// Does `puts` puts from so many callers at once; how long that took.
async fn load(target: &Arc<Target>, callers: u64, puts: u64, value: &Bytes) -> Duration {
    let begun = now();
    let mut running = JoinSet::new();
    for caller in 0..callers {
        let (target, value) = (target.clone(), value.clone());
        running.spawn(async move {
            for n in (caller..puts).step_by(usize::try_from(callers).expect("few")) {
                target.put(n, value.clone()).await;
            }
        });
    }
    running.join_all().await;
    begun.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn noise(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn by_callers(c: &mut Criterion) {
    let runtime = Runtime::new().expect("starts");
    let directory = tempfile::tempdir().expect("makes a directory");
    let target = runtime.block_on(Target::open(directory.path(), &RocksOptions::default()));
    let value = noise(1024);
    let mut group = c.benchmark_group("synced_put_1KiB");
    group.sample_size(10).throughput(Throughput::Elements(1));
    for callers in [1, 16, 64, 256] {
        group.bench_function(BenchmarkId::from_parameter(callers), |bencher| {
            bencher.iter_custom(|puts| runtime.block_on(load(&target, callers, puts, &value)));
        });
    }
    group.finish();
    c.bench_function("cached_get_1KiB", |bencher| {
        let mut n = 0;
        bencher.iter(|| {
            n += 1;
            runtime.block_on(target.get(n));
        });
    });
    runtime.block_on(target.replica.stop()).expect("stops");
}

fn blobs(c: &mut Criterion) {
    let runtime = Runtime::new().expect("starts");
    let mut group = c.benchmark_group("overwrite");
    group.sample_size(10);
    for kib in [4_usize, 16, 64] {
        for (name, blob_min_bytes) in [("tables", None), ("blobs", Some(4096))] {
            let directory = tempfile::tempdir().expect("makes a directory");
            // A small memtable, so that a short run flushes and compacts.
            let options = RocksOptions {
                blob_min_bytes,
                memtable_bytes: 4 << 20,
                ..RocksOptions::default()
            };
            let target = runtime.block_on(Target::open(directory.path(), &options));
            let value = noise(kib * 1024);
            group.throughput(Throughput::Bytes(value.len() as u64));
            group.bench_function(BenchmarkId::new(name, format!("{kib}KiB")), |bencher| {
                bencher.iter_custom(|puts| runtime.block_on(load(&target, 16, puts, &value)));
            });
            runtime.block_on(target.replica.stop()).expect("stops");
            let figures = target.replica.estimates();
            println!("{name} {kib}KiB: {} bytes on disk", figures.bytes);
        }
    }
    group.finish();
}

criterion_group!(benches, by_callers, blobs);
criterion_main!(benches);
