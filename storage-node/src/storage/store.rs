//! An open store: the engine, how the last run ended, the mark of what is on disk, the disk's
//! free space.

use std::path::PathBuf;
use std::sync::Arc;

use super::data_dir::DataDir;
use super::engine::{Engine, EngineError};
use super::free_space::FreeSpace;
use super::high_water::{HighWater, HighWaterError};
use super::memory::MemoryEngine;
use super::recovery::{self, Recovered};
use super::rocks::RocksEngine;
use super::rocks_options::RocksOptions;

/// Why a store can't be opened. Nothing may be served from it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Acknowledged writes are gone, or that can't be told.
    #[error(transparent)]
    HighWater(#[from] HighWaterError),
}

/// See the module.
pub struct Store {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) recovered: Recovered,
    pub(crate) high_water: Option<HighWater>,
    pub(crate) free_space: Option<FreeSpace>,
}

impl Store {
    /// Opens the database of a data directory. Blocks while the log is replayed.
    pub fn open(data_dir: &DataDir, options: &RocksOptions) -> Result<Self, StoreError> {
        // First of all: it may make the room that opening takes.
        let free_space = FreeSpace::of(data_dir.path(), options.free_space);
        let engine = RocksEngine::open(&data_dir.database(), options)?;
        let mark = Self::high_water_mark(data_dir);
        let high_water = HighWater::open(&mark, engine.sequence())?;
        // A node that knows its cluster has held data, or could have.
        let recovered = recovery::begin(&engine, data_dir.cluster_id().is_some())?;
        Ok(Self {
            engine: Arc::new(engine),
            recovered,
            high_water: Some(high_water),
            free_space: Some(free_space),
        })
    }

    pub(super) fn high_water_mark(data_dir: &DataDir) -> PathBuf {
        data_dir.path().join("high-water")
    }

    /// An empty store that ends with the process: for tests and trials.
    pub fn in_memory() -> Self {
        Self::over(Arc::new(MemoryEngine::new())).expect("memory has no disk that could fail")
    }

    /// A store over any engine, without a high-water mark.
    pub fn over(engine: Arc<dyn Engine>) -> Result<Self, StoreError> {
        Self::over_disk_of_node(engine, false)
    }

    /// The same, of a node that had data before, or had none.
    pub fn over_disk_of_node(engine: Arc<dyn Engine>, had_data: bool) -> Result<Self, StoreError> {
        let recovered = recovery::begin(engine.as_ref(), had_data)?;
        Ok(Self {
            engine,
            recovered,
            high_water: None,
            free_space: None,
        })
    }

    /// The same store, on a disk that is as full as `free_space` says.
    #[must_use]
    pub fn with_free_space(self, free_space: FreeSpace) -> Self {
        Self {
            free_space: Some(free_space),
            ..self
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// How the last run ended.
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }
}
