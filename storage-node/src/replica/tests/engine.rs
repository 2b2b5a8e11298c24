//! An engine whose log can be held up, made to fail, and looked at.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::storage::{
    Batch, Engine, EngineError, EngineEstimates, Entry, InMemory, KeyRange, MemoryEngine,
    Persistence, ScanLimit, Space,
};

/// See the module.
#[derive(Default)]
pub(super) struct TestEngine {
    inner: MemoryEngine,
    fails: AtomicBool,
    cold: AtomicBool,
    held: Mutex<bool>,
    released: Condvar,
    /// Writes to [`Space::Data`]: how many changes, how persistent.
    writes: Mutex<Vec<(usize, Persistence)>>,
    syncs: AtomicUsize,
}

impl TestEngine {
    /// Writes wait from now on.
    pub(super) fn hold(&self) {
        *self.held.lock() = true;
    }

    /// Writes go on.
    pub(super) fn release(&self) {
        *self.held.lock() = false;
        self.released.notify_all();
    }

    /// Writes fail from now on, after they were applied: nobody can know.
    pub(super) fn fail_writes(&self) {
        self.fails.store(true, Ordering::SeqCst);
    }

    /// Nothing is in memory from now on.
    pub(super) fn make_cold(&self) {
        self.cold.store(true, Ordering::SeqCst);
    }

    /// The writes of clients' keys so far.
    pub(super) fn writes(&self) -> Vec<(usize, Persistence)> {
        self.writes.lock().clone()
    }

    /// How often the log was synced, whatever was written.
    pub(super) fn syncs(&self) -> usize {
        self.syncs.load(Ordering::SeqCst)
    }

    /// Flips a bit in the middle of the only record.
    pub(super) fn damage_the_only_record(&self) {
        let limit = ScanLimit {
            entries: 2,
            bytes: usize::MAX,
        };
        let found = self
            .inner
            .scan(Space::Data, &KeyRange::default(), limit)
            .unwrap();
        let [entry] = &found[..] else {
            panic!("{} records", found.len())
        };
        let mut damaged = entry.value.to_vec();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x10;
        let mut batch = Batch::new();
        batch.put(Space::Data, entry.key.clone(), damaged);
        self.inner.write(&batch, Persistence::Synced).unwrap();
    }
}

impl Engine for TestEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.inner.get(space, key)
    }

    fn get_in_memory(&self, space: Space, key: &[u8]) -> Result<InMemory, EngineError> {
        if self.cold.load(Ordering::SeqCst) {
            return Ok(InMemory::NeedsDisk);
        }
        self.inner.get_in_memory(space, key)
    }

    fn write(&self, batch: &Batch, persistence: Persistence) -> Result<(), EngineError> {
        let mut held = self.held.lock();
        while *held {
            self.released.wait(&mut held);
        }
        self.inner.write(batch, persistence)?;
        if persistence == Persistence::Synced {
            self.syncs.fetch_add(1, Ordering::SeqCst);
        }
        let data = batch
            .changes()
            .iter()
            .filter(|change| matches!(change, crate::storage::Change::Put(Space::Data, ..)));
        let data = data.count();
        if data > 0 {
            self.writes.lock().push((data, persistence));
        }
        if self.fails.load(Ordering::SeqCst) {
            let detail = "fsync failed".to_owned();
            return Err(EngineError::Io {
                operation: "write a batch",
                detail,
            });
        }
        Ok(())
    }

    fn scan(
        &self,
        space: Space,
        range: &KeyRange,
        limit: ScanLimit,
    ) -> Result<Vec<Entry>, EngineError> {
        self.inner.scan(space, range, limit)
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.inner.flush()
    }

    fn sequence(&self) -> u64 {
        self.inner.sequence()
    }

    fn estimates(&self) -> EngineEstimates {
        self.inner.estimates()
    }
}
