//! A replica that owns everything, and requests for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annulus_causality::{RequestId, VersionVector};
use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::{NodeId, PartitionCount, PartitionId, Placement, RingEpoch};
use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use uuid::Uuid;

use super::engine::TestEngine;
use super::one_node;
use crate::clock::Clock;
use crate::entropy::SystemRandomness;
use crate::keyspace::{ConflictPolicy, Durability, Keyspace};
use crate::replica::{KeyAddress, Merge, Replica, ReplicaOptions, Write};
use crate::storage::Store;
use crate::storage::free_space::FreeSpace;

pub(super) const EPOCH: RingEpoch = RingEpoch(5);

/// The wall clock stands still until it is set.
#[derive(Debug)]
pub(super) struct TestClock(AtomicU64);

impl TestClock {
    pub(super) fn set_wall_ms(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(super) const NOW_MS: u64 = 1_800_000_000_000;

/// One node's replica and what is around it.
pub(super) struct Fixture {
    pub(super) engine: Arc<TestEngine>,
    pub(super) clock: Arc<TestClock>,
    pub(super) replica: Replica,
    placement: Placement,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        Self::with(ReplicaOptions {
            committers: 1,
            ..ReplicaOptions::default()
        })
        .await
    }

    pub(super) async fn with(options: ReplicaOptions) -> Self {
        let clock = Arc::new(TestClock(AtomicU64::new(NOW_MS)));
        Self::over(Arc::default(), clock, options).await
    }

    /// What a new process finds after this one was killed (or had stopped).
    pub(super) async fn restart(self) -> Self {
        let options = ReplicaOptions {
            committers: 1,
            ..ReplicaOptions::default()
        };
        Self::over(self.engine.clone(), self.clock.clone(), options).await
    }

    /// On a disk that is as full as `free_space` says.
    pub(super) async fn on_disk(free_space: FreeSpace) -> Self {
        let (engine, clock) = (Arc::default(), Arc::new(TestClock(AtomicU64::new(NOW_MS))));
        let store = Store::over(Arc::clone(&engine) as _)
            .unwrap()
            .with_free_space(free_space);
        Self::start(engine, store, clock, ReplicaOptions::default()).await
    }

    async fn over(engine: Arc<TestEngine>, clock: Arc<TestClock>, options: ReplicaOptions) -> Self {
        let store = Store::over(engine.clone()).unwrap();
        Self::start(engine, store, clock, options).await
    }

    async fn start(
        engine: Arc<TestEngine>,
        store: Store,
        clock: Arc<TestClock>,
        options: ReplicaOptions,
    ) -> Self {
        let mut registry = Registry::default();
        let as_clock: Arc<dyn Clock> = clock.clone();
        let randomness = Arc::new(SystemRandomness);
        let replica =
            Replica::start(&options, store, &as_clock, randomness, &mut registry).unwrap();
        // The ring begins: nothing has to be filled.
        replica.own(partitions(), RingEpoch::FIRST).await.unwrap();
        replica.own(partitions(), EPOCH).await.unwrap();
        Self {
            engine,
            clock,
            replica,
            placement: placement(),
        }
    }

    pub(super) fn at(&self, keyspace: &Arc<Keyspace>, key: &str) -> KeyAddress {
        KeyAddress::of(
            &self.placement,
            keyspace.clone(),
            Key::new(key.to_owned()).unwrap(),
        )
    }

    pub(super) fn kv(&self, key: &str) -> KeyAddress {
        let name = KeyspaceName::kv();
        self.at(
            &Arc::new(Keyspace::new(name, ConflictPolicy::Siblings)),
            key,
        )
    }

    pub(super) fn data(&self, key: &str) -> KeyAddress {
        let name = KeyspaceName::data();
        self.at(&Arc::new(Keyspace::new(name, ConflictPolicy::Lww)), key)
    }

    pub(super) fn fast(&self, key: &str) -> KeyAddress {
        let keyspace = Keyspace::new(KeyspaceName::new("fast").unwrap(), ConflictPolicy::Siblings);
        self.at(
            &Arc::new(Keyspace {
                durability: Durability::Async,
                ..keyspace
            }),
            key,
        )
    }

    /// The values that a reader is shown.
    pub(super) async fn values(&self, address: &KeyAddress) -> Vec<Bytes> {
        let state = self
            .replica
            .read(address)
            .await
            .unwrap()
            .unwrap_or_default();
        let live = state.live(self.clock.wall_ms());
        let mut values: Vec<_> = live
            .filter_map(|sibling| sibling.value(0).cloned())
            .collect();
        values.sort();
        values
    }

    /// A blind write, waited for.
    pub(super) async fn put(&self, address: &KeyAddress, value: &'static str) -> VersionVector {
        let minted = self.replica.mint(write(address, value)).await.unwrap();
        let clock = minted.clock.clone();
        minted.durable.await.unwrap();
        clock
    }
}

pub(super) fn partitions() -> Vec<PartitionId> {
    PartitionCount::new(8).unwrap().ids().collect()
}

pub(super) fn placement() -> Placement {
    one_node::placement(NodeId(Uuid::from_u128(1)), 8)
}

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

pub(super) fn write(address: &KeyAddress, value: &'static str) -> Write {
    Write {
        address: address.clone(),
        content: Some(Bytes::from_static(value.as_bytes())),
        context: VersionVector::new(),
        ttl: None,
        request_id: None,
        deadline: soon(),
        fence: EPOCH,
    }
}

pub(super) fn request(sequence: u64) -> RequestId {
    RequestId {
        client: 7,
        sequence,
    }
}

pub(super) fn merge(address: &KeyAddress, state: &annulus_causality::KeyState) -> Merge {
    Merge {
        address: address.clone(),
        state: state.clone(),
        deadline: soon(),
        fence: EPOCH,
    }
}
