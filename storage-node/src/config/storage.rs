//! How the node keeps its data.

use serde::Deserialize;

use super::ConfigError;

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
    /// Values from this size on are kept in blob files, in bytes; 0 keeps all in the tree.
    /// Default 4 KiB.
    pub blob_min_bytes: u64,
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

/// How RocksDB arranges its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compaction {
    /// Levels: less space, faster reads.
    Leveled,
    /// Size-tiered: fewer writes.
    Universal,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            engine: EngineKind::Rocksdb,
            compaction: Compaction::Leveled,
            memtable_bytes: 64 << 20,
            block_cache_bytes: 256 << 20,
            blob_min_bytes: 4 << 10,
        }
    }
}

impl Storage {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.memtable_bytes < 1 << 20 {
            return Err(ConfigError::field("storage.memtable_bytes", "must be 1 MiB or more"));
        }
        if self.block_cache_bytes < 1 << 20 {
            return Err(ConfigError::field("storage.block_cache_bytes", "must be 1 MiB or more"));
        }
        Ok(())
    }
}
