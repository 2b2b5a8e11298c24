//! An engine without a disk: sorted maps behind a lock.
//!
//! Keeps every promise of the trait but the one about crashes: its data ends with the process.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use parking_lot::RwLock;

use super::engine::{
    Batch, Change, Engine, EngineError, EngineEstimates, Entry, InMemory, KeyRange, Persistence,
    ScanLimit, Space,
};
use super::sum_block;

type Sorted = BTreeMap<Bytes, Bytes>;

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    state: RwLock<State>,
}

#[derive(Debug, Clone, Default)]
struct State {
    data: Sorted,
    meta: Sorted,
    hints: Sorted,
    tree: Sorted,
    bytes: u64,
    sequence: u64,
}

impl State {
    fn space(&self, space: Space) -> &Sorted {
        match space {
            Space::Data => &self.data,
            Space::Meta => &self.meta,
            Space::Hints => &self.hints,
            Space::Tree => &self.tree,
        }
    }

    fn apply(&mut self, change: &Change) {
        let (space, key, value) = match change {
            Change::Put(space, key, value) => (*space, key, Some(value.clone())),
            Change::Delete(space, key) => (*space, key, None),
            Change::Combine(key, change) => {
                let block =
                    sum_block::combine(self.tree.get(key).map(|block| &**block), [&**change]);
                (Space::Tree, key, Some(block.into()))
            }
            Change::DeleteRange(space, start, end) => return self.delete_range(*space, start, end),
        };
        let sorted = match space {
            Space::Data => &mut self.data,
            Space::Meta => &mut self.meta,
            Space::Hints => &mut self.hints,
            Space::Tree => &mut self.tree,
        };
        let size = |value: &Bytes| (key.len() + value.len()) as u64;
        let new_size = value.as_ref().map_or(0, size);
        let old = match value {
            Some(value) => sorted.insert(key.clone(), value),
            None => sorted.remove(key),
        };
        self.bytes = self.bytes + new_size - old.as_ref().map_or(0, size);
        self.sequence += 1;
    }

    fn delete_range(&mut self, space: Space, start: &Bytes, end: &Bytes) {
        let keys = self.space(space).range(start.clone()..end.clone());
        let keys: Vec<Bytes> = keys.map(|(key, _)| key.clone()).collect();
        let sequence = self.sequence + 1;
        for key in keys {
            self.apply(&Change::Delete(space, key));
        }
        self.sequence = sequence;
    }
}

impl MemoryEngine {
    /// An empty engine.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another engine with the same content.
    #[cfg(feature = "simulation")]
    pub(crate) fn copy(&self) -> Self {
        Self {
            state: RwLock::new(self.state.read().clone()),
        }
    }
}

impl Engine for MemoryEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.state.read().space(space).get(key).cloned())
    }

    fn get_in_memory(&self, space: Space, key: &[u8]) -> Result<InMemory, EngineError> {
        self.get(space, key).map(InMemory::Known)
    }

    fn write(&self, batch: &Batch, _: Persistence) -> Result<(), EngineError> {
        let mut state = self.state.write();
        batch
            .changes()
            .iter()
            .for_each(|change| state.apply(change));
        Ok(())
    }

    fn scan(
        &self,
        space: Space,
        range: &KeyRange,
        limit: ScanLimit,
    ) -> Result<Vec<Entry>, EngineError> {
        if range.end.as_ref().is_some_and(|end| *end <= range.start) {
            return Ok(Vec::new());
        }
        let end = range
            .end
            .as_deref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(&range.start), end);
        let state = self.state.read();
        let mut found = Vec::new();
        let mut bytes = 0;
        for (key, value) in state.space(space).range::<[u8], _>(bounds) {
            bytes += key.len() + value.len();
            if found.len() == limit.entries || (bytes > limit.bytes && !found.is_empty()) {
                break;
            }
            found.push(Entry {
                key: key.clone(),
                value: value.clone(),
            });
        }
        Ok(found)
    }

    fn flush(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn sequence(&self) -> u64 {
        self.state.read().sequence
    }

    fn estimates(&self) -> EngineEstimates {
        let state = self.state.read();
        EngineEstimates {
            keys: state.data.len() as u64,
            bytes: state.bytes,
            ..EngineEstimates::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::conformance;

    #[test]
    fn memory_keeps_the_promises_of_an_engine() {
        conformance::run(MemoryEngine::new);
    }
}
