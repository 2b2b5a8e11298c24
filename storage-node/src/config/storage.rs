//! How the node keeps its data.

use serde::Deserialize;

use super::ConfigError;
use crate::storage::{Compaction, RocksOptions};

/// How the node keeps its data.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Where the data lives. Default `rocksdb`.
    pub engine: EngineKind,
    /// How RocksDB arranges its files. Default `leveled`.
    pub compaction: Compaction,
    /// Size of RocksDB's write buffer in bytes. Default 64 MiB.
    pub memtable_bytes: usize,
    /// Size of RocksDB's block cache in bytes. Default 256 MiB.
    pub block_cache_bytes: usize,
    /// Values from this size on are kept in blob files, in bytes. Default 16 KiB; null keeps all in
    /// the tree.
    pub blob_min_bytes: Option<u64>,
}

/// Where the data lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// On disk.
    Rocksdb,
    /// In memory, gone when the process ends: for tests.
    Memory,
}

impl Default for Storage {
    fn default() -> Self {
        let usual = RocksOptions::default();
        Self {
            engine: EngineKind::Rocksdb,
            compaction: usual.compaction,
            memtable_bytes: usual.memtable_bytes,
            block_cache_bytes: usual.block_cache_bytes,
            blob_min_bytes: usual.blob_min_bytes,
        }
    }
}

impl Storage {
    pub(crate) fn rocks_options(&self) -> RocksOptions {
        RocksOptions {
            compaction: self.compaction,
            memtable_bytes: self.memtable_bytes,
            block_cache_bytes: self.block_cache_bytes,
            blob_min_bytes: self.blob_min_bytes,
            ..RocksOptions::default()
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.memtable_bytes < 1 << 20 {
            return Err(ConfigError::field(
                "storage.memtable_bytes",
                "must be 1 MiB or more",
            ));
        }
        if self.block_cache_bytes < 1 << 20 {
            return Err(ConfigError::field(
                "storage.block_cache_bytes",
                "must be 1 MiB or more",
            ));
        }
        Ok(())
    }
}
