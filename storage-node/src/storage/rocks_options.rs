//! How RocksDB is set up, and why. `docs/protocol/durability.md` is the law for everything about the log.

use rocksdb::{
    BlockBasedOptions, Cache, ChecksumType, DBCompactionStyle, DBCompressionType, DBRecoveryMode,
    LogLevel, MergeOperands, Options,
};

use super::engine::Space;
use super::free_space::FreeSpaceSteps;
use super::sum_block;

/// Filter bits per key: about 1 % of lookups of absent keys read a block in vain.
const FILTER_BITS_PER_KEY: f64 = 10.0;
/// Share of a memtable spent on a filter for lookups of absent keys.
const MEMTABLE_FILTER_RATIO: f64 = 0.02;
/// Data blocks; 16 KiB halves the index at a small cost per cached lookup.
const BLOCK_BYTES: usize = 16 * 1024;
/// Background writes are handed to the disk in steps, so that no burst delays the log.
const BYTES_PER_SYNC: u64 = 1024 * 1024;
/// RocksDB's own text log: size of a file, and how many are kept.
const TEXT_LOG_BYTES: usize = 16 * 1024 * 1024;
const TEXT_LOGS: usize = 5;
/// Files kept open; each costs its index handle.
const OPEN_FILES_MAX: i32 = 4096;
/// Measured with `benches/committer.rs`: overwriting 4 KiB values is 6 % slower with blob files and
/// takes ten times the space; from 16 KiB on it is 40 % faster in about the same space.
const BLOB_MIN_BYTES: u64 = 16 * 1024;
/// Memtables of the node's own records; they are few.
const META_MEMTABLE_BYTES: usize = 4 * 1024 * 1024;
/// A memtable of hints: most are delivered soon and never leave it.
const HINTS_MEMTABLE_BYTES: usize = 16 * 1024 * 1024;
/// Delivered hints lie where the next delivery begins to look. A file in which so many of so many
/// neighbours are deletions is compacted at once, or each look would step over all of them.
const HINTS_DELETIONS: (usize, usize) = (1024, 512);
/// Memtables of hash trees: changes of a few bytes, folded into blocks when they are written out.
const TREE_MEMTABLE_BYTES: usize = 16 * 1024 * 1024;
/// Stored in the database: another name would not be opened.
const COMBINE_NAME: &std::ffi::CStr = c"annulus.sum_block";

/// How sorted files are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compaction {
    /// Least space and steady reads; more bytes rewritten.
    Leveled,
    /// Fewer bytes rewritten; up to twice the space for a while.
    Universal,
}

/// What a node's configuration decides about RocksDB.
#[derive(Debug, Clone, PartialEq)]
pub struct RocksOptions {
    /// How sorted files are merged.
    pub compaction: Compaction,
    /// Bytes of one memtable.
    pub memtable_bytes: usize,
    /// Memtables at most; when all are full, writes wait.
    pub memtables_max: u32,
    /// Bytes of the block cache.
    pub block_cache_bytes: usize,
    /// Records from this size in bytes live in blob files, outside of compaction. `None`: none.
    pub blob_min_bytes: Option<u64>,
    /// Threads for flushes and compactions.
    pub background_jobs: u32,
    /// Bytes of log files after which memtables are written out.
    pub log_bytes_max: u64,
    /// What ends when the disk fills up.
    pub free_space: FreeSpaceSteps,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            compaction: Compaction::Leveled,
            memtable_bytes: 64 * 1024 * 1024,
            memtables_max: 4,
            block_cache_bytes: 256 * 1024 * 1024,
            blob_min_bytes: Some(BLOB_MIN_BYTES),
            background_jobs: 2,
            log_bytes_max: 512 * 1024 * 1024,
            free_space: FreeSpaceSteps::default(),
        }
    }
}

impl RocksOptions {
    /// Options of the whole database.
    pub(super) fn database(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        // A torn last record is a normal crash; damage before it must not be skipped silently.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_recycle_log_file_num(0);
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_paranoid_checks(true);
        options.set_max_total_wal_size(self.log_bytes_max);
        options.set_max_background_jobs(clamped(self.background_jobs));
        options.set_bytes_per_sync(BYTES_PER_SYNC);
        options.set_max_open_files(OPEN_FILES_MAX);
        // Deleting obsolete files takes long; a lookup should not pay for it.
        options.set_avoid_unnecessary_blocking_io(true);
        options.set_log_level(LogLevel::Warn);
        options.set_max_log_file_size(TEXT_LOG_BYTES);
        options.set_keep_log_file_num(TEXT_LOGS);
        options
    }

    /// Options of each space, in the order of [`Space::ALL`].
    pub(super) fn spaces(&self) -> [(Space, Options); 4] {
        let cache = Cache::new_hyper_clock_cache(self.block_cache_bytes, 0);
        Space::ALL.map(|space| (space, self.space(space, &cache)))
    }

    fn space(&self, space: Space, cache: &Cache) -> Options {
        let mut options = Options::default();
        options.set_block_based_table_factory(&block_options(cache));
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
        options.set_compaction_style(match self.compaction {
            Compaction::Leveled => DBCompactionStyle::Level,
            Compaction::Universal => DBCompactionStyle::Universal,
        });
        options.set_level_compaction_dynamic_level_bytes(true);
        match space {
            Space::Meta => options.set_write_buffer_size(META_MEMTABLE_BYTES),
            Space::Hints => {
                options.set_write_buffer_size(HINTS_MEMTABLE_BYTES);
                let (window, deletions) = HINTS_DELETIONS;
                options.add_compact_on_deletion_collector_factory(window, deletions, 0.5);
            }
            Space::Tree => {
                options.set_write_buffer_size(TREE_MEMTABLE_BYTES);
                options.set_merge_operator_associative(COMBINE_NAME, combine);
            }
            Space::Data => {
                options.set_write_buffer_size(self.memtable_bytes);
                options.set_max_write_buffer_number(clamped(self.memtables_max));
                options.set_memtable_prefix_bloom_ratio(MEMTABLE_FILTER_RATIO);
                options.set_memtable_whole_key_filtering(true);
                self.separate_blobs(&mut options, cache);
            }
        }
        options
    }

    fn separate_blobs(&self, options: &mut Options, cache: &Cache) {
        if let Some(bytes) = self.blob_min_bytes {
            options.set_enable_blob_files(true);
            options.set_min_blob_size(bytes);
            options.set_blob_compression_type(DBCompressionType::Lz4);
            options.set_blob_cache(cache);
            options.set_enable_blob_gc(true);
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "RocksDB's callback may fail")]
fn combine(_: &[u8], stored: Option<&[u8]>, changes: &MergeOperands) -> Option<Vec<u8>> {
    Some(sum_block::combine(stored, changes))
}

fn block_options(cache: &Cache) -> BlockBasedOptions {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_checksum_type(ChecksumType::XXH3);
    blocks.set_hybrid_ribbon_filter(FILTER_BITS_PER_KEY, 1);
    blocks.set_optimize_filters_for_memory(true);
    // Indexes and filters count against the cache, so that memory has one bound.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks
}

fn clamped(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
