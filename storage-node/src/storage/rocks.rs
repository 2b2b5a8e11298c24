//! RocksDB behind the engine's trait.
//!
//! Invariants: the write-ahead log is never disabled; a synced write is one `WriteBatch` with
//! `sync = true`; `Resume()` is never called, so that after a failed log write RocksDB stays
//! read-only until the process has restarted (`docs/protocol/durability.md`).

use std::path::Path;

use bytes::Bytes;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, ErrorKind, FlushOptions, ReadOptions,
    ReadTier, WriteBatch, WriteOptions, properties,
};

use super::engine::{
    Batch, Change, Engine, EngineError, EngineEstimates, Entry, InMemory, KeyRange, Persistence,
    ScanLimit, Space,
};
use super::rocks_options::RocksOptions;

/// A RocksDB database. Closed when dropped.
pub struct RocksEngine {
    db: DB,
}

impl RocksEngine {
    /// Opens the database in `directory`, or makes an empty one. Blocks while the log is replayed.
    ///
    /// Opens after a crash that tore the last log record. Refuses with
    /// [`EngineError::Corruption`] when the log is damaged before that, or a log file is missing:
    /// acknowledged writes may be lost then.
    pub fn open(directory: &Path, options: &RocksOptions) -> Result<Self, EngineError> {
        let spaces = options.spaces().into_iter();
        let spaces =
            spaces.map(|(space, options)| ColumnFamilyDescriptor::new(space.as_str(), options));
        DB::open_cf_descriptors(&options.database(), directory, spaces)
            .map(|db| Self { db })
            .map_err(|error| failed("open the database", &error))
    }

    fn family(&self, space: Space) -> &ColumnFamily {
        self.db
            .cf_handle(space.as_str())
            .expect("every space was opened with the database")
    }

    fn lookup(
        &self,
        space: Space,
        key: &[u8],
        options: &ReadOptions,
    ) -> Result<Option<Bytes>, rocksdb::Error> {
        let found = self
            .db
            .get_pinned_cf_opt(self.family(space), key, options)?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn figure(&self, space: Space, property: &properties::PropName) -> u64 {
        // Only figures for people: one that can't be read counts as 0.
        self.db
            .property_int_value_cf(self.family(space), property)
            .ok()
            .flatten()
            .unwrap_or(0)
    }
}

impl Engine for RocksEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.lookup(space, key, &ReadOptions::default())
            .map_err(|error| failed("read a key", &error))
    }

    fn get_in_memory(&self, space: Space, key: &[u8]) -> Result<InMemory, EngineError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        match self.lookup(space, key, &options) {
            Ok(found) => Ok(InMemory::Known(found)),
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(InMemory::NeedsDisk),
            Err(error) => Err(failed("read a key", &error)),
        }
    }

    fn write(&self, batch: &Batch, persistence: Persistence) -> Result<(), EngineError> {
        let mut changes =
            WriteBatch::with_capacity_bytes(batch.bytes() + 16 * batch.changes().len());
        for change in batch.changes() {
            match change {
                Change::Put(space, key, value) => changes.put_cf(self.family(*space), key, value),
                Change::Delete(space, key) => changes.delete_cf(self.family(*space), key),
                Change::Combine(key, change) => {
                    changes.merge_cf(self.family(Space::Tree), key, change);
                }
                Change::DeleteRange(space, start, end) => {
                    changes.delete_range_cf(self.family(*space), start, end);
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(persistence == Persistence::Synced);
        self.db
            .write_opt(changes, &options)
            .map_err(|error| failed("write a batch", &error))
    }

    fn scan(
        &self,
        space: Space,
        range: &KeyRange,
        limit: ScanLimit,
    ) -> Result<Vec<Entry>, EngineError> {
        let mut found = Vec::new();
        if range.end.as_ref().is_some_and(|end| *end <= range.start) {
            return Ok(found);
        }
        let mut options = ReadOptions::default();
        // A scan must not push out what clients read.
        options.fill_cache(false);
        if let Some(end) = &range.end {
            options.set_iterate_upper_bound(end.clone());
        }
        let mut cursor = self.db.raw_iterator_cf_opt(self.family(space), options);
        cursor.seek(&range.start);
        let mut bytes = 0;
        while let Some((key, value)) = cursor.item() {
            bytes += key.len() + value.len();
            if found.len() == limit.entries || (bytes > limit.bytes && !found.is_empty()) {
                break;
            }
            found.push(Entry {
                key: Bytes::copy_from_slice(key),
                value: Bytes::copy_from_slice(value),
            });
            cursor.next();
        }
        // An iterator that met damage just ends: only its status tells it from the range's end.
        cursor
            .status()
            .map_err(|error| failed("scan keys", &error))?;
        Ok(found)
    }

    fn flush(&self) -> Result<(), EngineError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        for space in Space::ALL {
            let flushed = self.db.flush_cf_opt(self.family(space), &options);
            flushed.map_err(|error| failed("flush memtables", &error))?;
        }
        Ok(())
    }

    fn drop_files(&self, space: Space, range: &KeyRange) -> Result<(), EngineError> {
        let Some(end) = &range.end else {
            return Ok(()); // no partition is the last one: nobody asks for this
        };
        let (family, start) = (self.family(space), &range.start);
        let dropped = self.db.delete_file_in_range_cf(family, start, end);
        dropped.map_err(|error| failed("drop files", &error))
    }

    fn compact(&self, space: Space, range: &KeyRange) -> Result<(), EngineError> {
        let (start, end) = (Some(&range.start), range.end.as_ref());
        let mut options = CompactOptions::default();
        // The usual compactions go on beside it.
        options.set_exclusive_manual_compaction(false);
        let family = self.family(space);
        self.db.compact_range_cf_opt(family, start, end, &options);
        Ok(())
    }

    fn sequence(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    fn estimates(&self) -> EngineEstimates {
        let data = |property| self.figure(Space::Data, property);
        let all = |property| {
            Space::ALL
                .iter()
                .map(|&space| self.figure(space, property))
                .sum()
        };
        let blob_bytes = c"rocksdb.live-blob-file-size";
        EngineEstimates {
            keys: data(properties::ESTIMATE_NUM_KEYS),
            bytes: all(properties::TOTAL_SST_FILES_SIZE)
                + self
                    .db
                    .property_int_value_cf(self.family(Space::Data), blob_bytes)
                    .ok()
                    .flatten()
                    .unwrap_or(0),
            memtable_bytes: all(properties::SIZE_ALL_MEM_TABLES),
            block_cache_bytes: data(properties::BLOCK_CACHE_USAGE),
            compaction_pending_bytes: all(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
            compactions_running: data(properties::NUM_RUNNING_COMPACTIONS),
            write_stalled: data(properties::IS_WRITE_STOPPED) != 0,
            background_errors: data(properties::BACKGROUND_ERRORS),
        }
    }
}

/// RocksDB tells causes by text only; what is not recognised counts as a failing disk.
fn failed(operation: &'static str, error: &rocksdb::Error) -> EngineError {
    let detail = error.to_string();
    if detail.contains("No space left") {
        return EngineError::NoSpace { operation, detail };
    }
    if detail.contains("lock hold by current process") || detail.contains("While lock file") {
        return EngineError::InUse { operation, detail };
    }
    match error.kind() {
        ErrorKind::Corruption => EngineError::Corruption { operation, detail },
        _ => EngineError::Io { operation, detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::conformance;
    use crate::storage::rocks_options::Compaction;

    fn small() -> RocksOptions {
        RocksOptions {
            memtable_bytes: 1 << 20,
            block_cache_bytes: 1 << 20,
            ..RocksOptions::default()
        }
    }

    /// Keeps its directory until it is dropped.
    struct Temporary {
        engine: RocksEngine,
        _directory: tempfile::TempDir,
    }

    impl Temporary {
        fn open(options: &RocksOptions) -> Self {
            let directory = tempfile::tempdir().unwrap();
            Self {
                engine: RocksEngine::open(directory.path(), options).unwrap(),
                _directory: directory,
            }
        }
    }

    impl Engine for Temporary {
        fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
            self.engine.get(space, key)
        }
        fn get_in_memory(&self, space: Space, key: &[u8]) -> Result<InMemory, EngineError> {
            self.engine.get_in_memory(space, key)
        }
        fn write(&self, batch: &Batch, persistence: Persistence) -> Result<(), EngineError> {
            self.engine.write(batch, persistence)
        }
        fn scan(
            &self,
            space: Space,
            range: &KeyRange,
            limit: ScanLimit,
        ) -> Result<Vec<Entry>, EngineError> {
            self.engine.scan(space, range, limit)
        }
        fn flush(&self) -> Result<(), EngineError> {
            self.engine.flush()
        }
        fn drop_files(&self, space: Space, range: &KeyRange) -> Result<(), EngineError> {
            self.engine.drop_files(space, range)
        }
        fn sequence(&self) -> u64 {
            self.engine.sequence()
        }
        fn estimates(&self) -> EngineEstimates {
            self.engine.estimates()
        }
    }

    #[test]
    fn rocksdb_keeps_the_promises_of_an_engine() {
        conformance::run(|| Temporary::open(&small()));
    }

    #[test]
    fn so_it_does_with_universal_compaction_and_blob_files() {
        let options = RocksOptions {
            compaction: Compaction::Universal,
            blob_min_bytes: Some(8),
            ..small()
        };
        conformance::run(|| Temporary::open(&options));
    }

    #[test]
    fn one_directory_has_one_user() {
        let directory = tempfile::tempdir().unwrap();
        let _first = RocksEngine::open(directory.path(), &small()).unwrap();
        let second = RocksEngine::open(directory.path(), &small());
        assert!(matches!(second.err(), Some(EngineError::InUse { .. })));
    }

    #[test]
    fn what_left_memory_is_not_taken_for_absent() {
        let directory = tempfile::tempdir().unwrap();
        let engine = RocksEngine::open(directory.path(), &small()).unwrap();
        let mut batch = Batch::new();
        batch.put(Space::Data, &b"k"[..], &b"v"[..]);
        engine.write(&batch, Persistence::Synced).unwrap();
        engine.flush().unwrap();
        drop(engine);
        let engine = RocksEngine::open(directory.path(), &small()).unwrap();
        assert_eq!(
            engine.get_in_memory(Space::Data, b"k"),
            Ok(InMemory::NeedsDisk)
        );
        assert_eq!(
            engine.get(Space::Data, b"k").unwrap().as_deref(),
            Some(&b"v"[..])
        );
        let in_memory = engine.get_in_memory(Space::Data, b"k").unwrap();
        assert_eq!(in_memory, InMemory::Known(Some(Bytes::from_static(b"v"))));
    }
}
