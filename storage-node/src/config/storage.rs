//! How the node keeps its data.

use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, fields};
use crate::disk_pace::SlowDiskRules;
use crate::rebuild::RebuildOptions;
use crate::storage::free_space::FreeSpaceSteps;
use crate::storage::{Compaction, RocksOptions};

/// No page of states is larger, unless a single state is.
const MAX_PAGE_BYTES: u64 = 4 << 20;

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
    /// What ends when the disk fills up.
    pub free_space: FreeSpaceSteps,
    /// How copies that lost their data are filled.
    pub rebuild: Rebuild,
    /// When this node's disk is slow beside the others'.
    pub slow_disk: SlowDisk,
}

/// How copies that lost their data are filled from other owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rebuild {
    /// Bytes of states taken in a second, over all vnodes. Default 32 MiB.
    pub bytes_per_second: u64,
    /// Bytes of states in one page; 4 MiB at most. Default 1 MiB.
    pub page_bytes: u64,
    /// Until an attempt that came to nothing is made again. Default 1s.
    #[serde(deserialize_with = "fields::duration")]
    pub retry: Duration,
    /// With more damaged vnodes at a time the whole disk counts as lost. Default 3.
    pub most_damaged: usize,
    /// How long a database is kept that was set aside; longer while a copy is not whole. Default 7d.
    #[serde(deserialize_with = "fields::duration")]
    pub keep_damaged: Duration,
}

impl Default for Rebuild {
    fn default() -> Self {
        Self {
            bytes_per_second: 32 << 20,
            page_bytes: 1 << 20,
            retry: Duration::from_secs(1),
            most_damaged: 3,
            keep_damaged: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// When this node's disk is slow beside the others': then it is asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlowDisk {
    /// 99 of 100 syncs or reads take more than so many times what the others' median takes. Default 10.
    pub factor: u32,
    /// And more than this. Default 10ms.
    #[serde(deserialize_with = "fields::duration")]
    pub at_least: Duration,
    /// Without a break for so long; as long without it, and the disk is slow no more. Default 60s.
    #[serde(deserialize_with = "fields::duration")]
    pub lasting: Duration,
    /// How often others are asked how their disks are. Default 10s.
    #[serde(deserialize_with = "fields::duration")]
    pub every: Duration,
}

impl Default for SlowDisk {
    fn default() -> Self {
        Self {
            factor: 10,
            at_least: Duration::from_millis(10),
            lasting: Duration::from_secs(60),
            every: Duration::from_secs(10),
        }
    }
}

impl SlowDisk {
    pub(crate) fn rules(self) -> SlowDiskRules {
        let Self {
            factor,
            at_least,
            lasting,
            every,
        } = self;
        SlowDiskRules {
            factor,
            at_least,
            lasting,
            every,
        }
    }
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
            free_space: usual.free_space,
            rebuild: Rebuild::default(),
            slow_disk: SlowDisk::default(),
        }
    }
}

impl Storage {
    /// With the longest time that a request may take.
    pub(crate) fn rebuild_options(&self, longest_request: Duration) -> RebuildOptions {
        let Rebuild {
            bytes_per_second,
            page_bytes,
            retry,
            most_damaged,
            keep_damaged: _,
        } = self.rebuild;
        RebuildOptions {
            bytes_per_second,
            page_bytes,
            retry,
            longest_request,
            most_damaged,
        }
    }

    pub(crate) fn rocks_options(&self) -> RocksOptions {
        RocksOptions {
            compaction: self.compaction,
            memtable_bytes: self.memtable_bytes,
            block_cache_bytes: self.block_cache_bytes,
            blob_min_bytes: self.blob_min_bytes,
            free_space: self.free_space,
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
        if !self.free_space.are_in_order() {
            return Err(ConfigError::field(
                "storage.free_space",
                "its percentages must fall from one step to the next, and end above 0",
            ));
        }
        let Rebuild {
            bytes_per_second,
            page_bytes,
            retry,
            ..
        } = self.rebuild;
        if bytes_per_second == 0 || !(1..=MAX_PAGE_BYTES).contains(&page_bytes) || retry.is_zero() {
            return Err(ConfigError::field(
                "storage.rebuild",
                "rate and retry must be more than 0, page_bytes 1 to 4194304",
            ));
        }
        if self.slow_disk.factor < 2 || self.slow_disk.every.is_zero() {
            return Err(ConfigError::field(
                "storage.slow_disk",
                "factor must be 2 or more, every more than 0",
            ));
        }
        Ok(())
    }
}
