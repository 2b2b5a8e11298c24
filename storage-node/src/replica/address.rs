//! Where a key lies.

use std::sync::Arc;

use annulus_proto::model::Key;
use annulus_ring::{PartitionId, Placement, Token};
use bytes::Bytes;

use crate::hash_tree::Leaf;
use crate::keyspace::Keyspace;
use crate::storage::key_encoding;

/// A key with its place on the ring and on disk. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KeyAddress {
    partition: PartitionId,
    keyspace: Arc<Keyspace>,
    key: Key,
    stored: Bytes,
    leaf: Leaf,
}

impl KeyAddress {
    /// Finds a key's place. It is the same at every epoch of a cluster: hash seed and number of
    /// partitions never change.
    pub fn of(placement: &Placement, keyspace: Arc<Keyspace>, key: Key) -> Self {
        let token = Token::of(
            placement.hash_seed(),
            keyspace.name.as_str(),
            key.as_bytes(),
        );
        let partition = placement.partitions().of(token);
        let stored = key_encoding::encode(partition, token, &keyspace.name, &key);
        Self {
            partition,
            keyspace,
            key,
            stored,
            leaf: Leaf::of(placement.partitions(), token),
        }
    }

    /// The partition.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The keyspace's rules.
    pub fn keyspace(&self) -> &Arc<Keyspace> {
        &self.keyspace
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The key as the engine knows it, for those who keep records or look at disks by it.
    pub(crate) fn stored_bytes(&self) -> &Bytes {
        &self.stored
    }

    /// Its leaf of the vnode's hash tree.
    pub(super) fn leaf(&self) -> Leaf {
        self.leaf
    }

    /// The key as the engine knows it.
    pub(super) fn stored(&self) -> &Bytes {
        &self.stored
    }
}
