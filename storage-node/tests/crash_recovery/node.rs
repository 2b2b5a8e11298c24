//! A replica over a data directory, without the network around it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annulus_causality::{KeyState, VersionVector};
use annulus_node::clock::{Clock, SystemClock};
use annulus_node::entropy::SystemRandomness;
use annulus_node::keyspace::{ConflictPolicy, Keyspace};
use annulus_node::replica::{KeyAddress, Minted, Replica, ReplicaError, ReplicaOptions, Write};
use annulus_node::storage::{DataDir, RocksOptions, Store, StoreError};
use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::{Placement, RingEpoch};
use bytes::Bytes;
use prometheus_client::registry::Registry;

use crate::one_node;

pub(crate) const EPOCH: RingEpoch = RingEpoch::FIRST;

pub(crate) fn options() -> RocksOptions {
    RocksOptions {
        block_cache_bytes: 1 << 20,
        blob_min_bytes: None,
        ..RocksOptions::default()
    }
}

/// See the module.
pub(crate) struct TestNode {
    pub(crate) replica: Replica,
    pub(crate) clean: bool,
    placement: Placement,
    keyspace: Arc<Keyspace>,
    clock: Arc<dyn Clock>,
    _data_dir: DataDir,
}

impl TestNode {
    pub(crate) async fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::open_with(directory, &options()).await
    }

    pub(crate) async fn open_with(
        directory: &Path,
        options: &RocksOptions,
    ) -> Result<Self, StoreError> {
        let data_dir = DataDir::open(directory, &SystemRandomness).unwrap();
        let store = Store::open(&data_dir, options)?;
        let clean = store.recovered().clean;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut registry = Registry::default();
        let replica = Replica::start(
            &ReplicaOptions::default(),
            store,
            &clock,
            Arc::new(SystemRandomness),
            &mut registry,
        )?;
        let placement = one_node::placement(data_dir.node_id(), 16);
        replica
            .own(placement.partitions().ids().collect(), EPOCH)
            .await
            .unwrap();
        let keyspace = Arc::new(Keyspace::new(KeyspaceName::kv(), ConflictPolicy::Siblings));
        Ok(Self {
            replica,
            clean,
            placement,
            keyspace,
            clock,
            _data_dir: data_dir,
        })
    }

    pub(crate) fn address(&self, key: &str) -> KeyAddress {
        let key = Key::new(key.to_owned()).unwrap();
        KeyAddress::of(&self.placement, self.keyspace.clone(), key)
    }

    pub(crate) async fn mint(&self, key: &str, value: Bytes) -> Result<Minted, ReplicaError> {
        let write = Write {
            address: self.address(key),
            content: Some(value),
            context: VersionVector::new(),
            ttl: None,
            request_id: None,
            deadline: self.clock.now() + Duration::from_secs(60),
            fence: EPOCH,
        };
        self.replica.mint(write).await
    }

    /// Writes and waits until it is durable.
    pub(crate) async fn put(&self, key: &str, value: Bytes) -> Result<(), ReplicaError> {
        self.mint(key, value).await?.durable.await
    }

    pub(crate) async fn state(&self, key: &str) -> Result<Option<KeyState>, ReplicaError> {
        self.replica.read(&self.address(key)).await
    }

    /// The value of a key that was written once.
    pub(crate) async fn value(&self, key: &str) -> Option<Bytes> {
        let state = self.state(key).await.unwrap()?;
        let mut live = state.live(0);
        let value = live.next()?.value(0).cloned();
        assert!(live.next().is_none(), "{key} has siblings");
        value
    }
}
