//! Storage: bytes that survive.
//!
//! | module | owns |
//! |---|---|
//! | [`engine`] | the trait: what the node asks of an engine, and its promises |
//! | [`rocks`], [`rocks_options`] | RocksDB behind the trait, and how it is set up |
//! | [`memory`] | an engine without a disk, for tests and trials |
//! | `conformance` | the suite that every engine passes |
//! | [`key_encoding`] | how keys lie on disk: by partition, then by hash |
//! | [`sum_block`] | blocks of hash trees, and how an engine combines changes with them |
//! | [`data_dir`] | the directory: its lock, its format version, the node's identity |
//! | [`atomic_file`] | small files that are replaced whole or not at all |
//! | [`recovery`] | how the last run ended; the restart count |
//! | [`high_water`] | how far the log was on disk, so that a later loss is noticed |
//! | [`free_space`], `reserve` | how full the disk is, and what ends for it |
//! | [`lost_database`] | sets a database aside that can't be used any more |
//! | [`store`] | all of that, opened together |
//! | [`bounded_queue`] | the queue between async callers and storage threads |
//! | [`io_pool`] | threads for reads that block, with a bounded queue |
//! | `pace` | how long a simulated disk takes (simulation only) |
//!
//! Invariant: nobody outside this folder touches RocksDB, and nobody calls an engine from an
//! async worker except for lookups that stay in memory.
//!
//! Leaves to others: what the values mean (`replica`).

pub mod atomic_file;
pub mod bounded_queue;
#[cfg(test)]
pub mod conformance;
pub mod data_dir;
pub mod engine;
pub mod free_space;
pub mod high_water;
pub mod io_pool;
pub mod key_encoding;
pub mod lost_database;
pub mod memory;
#[cfg(feature = "simulation")]
pub mod pace;
pub mod recovery;
mod reserve;
pub mod rocks;
pub mod rocks_options;
pub mod store;
pub mod sum_block;

pub use data_dir::{DataDir, DataDirError};
pub use engine::{
    Batch, Change, Engine, EngineError, EngineEstimates, Entry, InMemory, KeyRange, Persistence,
    ScanLimit, Space,
};
pub use memory::MemoryEngine;
pub use rocks::RocksEngine;
pub use rocks_options::{Compaction, RocksOptions};
pub use store::{Store, StoreError};
pub use sum_block::{Sum, SumBlock};
