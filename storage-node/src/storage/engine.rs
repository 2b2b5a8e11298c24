//! What the node asks of a storage engine: ordered bytes in a few spaces, atomic batches, and an
//! fsync when told so.
//!
//! Invariants that every engine keeps, checked by one suite (`conformance`):
//! - a batch is applied whole or not at all, also across a crash;
//! - a batch written with [`Persistence::Synced`] and answered `Ok` survives a crash, and so does
//!   everything written before it;
//! - a read or scan that meets damage fails with [`EngineError::Corruption`]: it never says that a
//!   key is absent when it can't know.
//!
//! Calls block. Whoever is on an async worker goes through [`super::io_pool`] or the committer.
//! Leaves to others: what the bytes mean (`key_encoding`, `replica`), who may write when.

use bytes::Bytes;

/// One of the engine's key spaces. They share the log, so a batch may span them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Clients' keys.
    Data,
    /// The node's own records: vnodes, generation.
    Meta,
    /// Writes kept for other nodes.
    Hints,
    /// Hash trees over the clients' keys: blocks of sums (`sum_block`).
    Tree,
}

impl Space {
    /// Every space.
    pub const ALL: [Self; 4] = [Self::Data, Self::Meta, Self::Hints, Self::Tree];

    /// Its name on disk and in errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Meta => "meta",
            Self::Hints => "hints",
            Self::Tree => "tree",
        }
    }
}

/// When a write may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Once it is in the log and the log is on disk (fsync).
    Synced,
    /// Once it is in the log; the operating system writes it out when it likes.
    Buffered,
}

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets a key.
    Put(Space, Bytes, Bytes),
    /// Removes a key, if it is there.
    Delete(Space, Bytes),
    /// Combines a change with the block of sums of that key in [`Space::Tree`], without reading it.
    Combine(Bytes, Bytes),
    /// Removes all keys from the first (included) to the second (excluded).
    DeleteRange(Space, Bytes, Bytes),
}

/// Changes that are applied together, in order.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    changes: Vec<Change>,
    bytes: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.changes.push(Change::Put(space, key, value));
    }

    /// Removes a key.
    pub fn delete(&mut self, space: Space, key: impl Into<Bytes>) {
        let key = key.into();
        self.bytes += key.len();
        self.changes.push(Change::Delete(space, key));
    }

    /// Combines a change (`sum_block`) with a block of [`Space::Tree`]; an absent one is empty.
    pub fn combine(&mut self, key: impl Into<Bytes>, change: impl Into<Bytes>) {
        let (key, change) = (key.into(), change.into());
        self.bytes += key.len() + change.len();
        self.changes.push(Change::Combine(key, change));
    }

    /// Removes all keys from `start` (included) to `end` (excluded), however many there are.
    pub fn delete_range(&mut self, space: Space, start: impl Into<Bytes>, end: impl Into<Bytes>) {
        let (start, end) = (start.into(), end.into());
        self.bytes += start.len() + end.len();
        self.changes.push(Change::DeleteRange(space, start, end));
    }

    /// The changes, in order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Keys from `start` (included) up to `end` (excluded; `None`: to the last key).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// First key that belongs to the range.
    pub start: Vec<u8>,
    /// First key after the range.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// All keys that begin with `prefix`.
    pub fn with_prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        let end = end.last().copied().map(|last| {
            let at = end.len() - 1;
            end[at] = last + 1;
            end
        });
        Self {
            start: prefix.to_vec(),
            end,
        }
    }

    /// The part of this range that comes after `key`.
    #[must_use]
    pub fn after(&self, key: &[u8]) -> Self {
        let mut start = key.to_vec();
        start.push(0);
        Self {
            start: start.max(self.start.clone()),
            end: self.end.clone(),
        }
    }
}

/// How much one scan may return. Whichever is reached first ends it; at least one entry is
/// returned if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimit {
    /// Most entries.
    pub entries: usize,
    /// Most bytes of keys and values.
    pub bytes: usize,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Key.
    pub key: Bytes,
    /// Value.
    pub value: Bytes,
}

/// The answer of a lookup that must not touch the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InMemory {
    /// Known without the disk.
    Known(Option<Bytes>),
    /// Only the disk can tell: call [`Engine::get`] where blocking is allowed.
    NeedsDisk,
}

/// What an engine believes of itself. Figures for people and metrics: no decision rests on them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineEstimates {
    /// Keys in [`Space::Data`].
    pub keys: u64,
    /// Bytes on disk (in memory, for an engine without a disk).
    pub bytes: u64,
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// Bytes in the block cache.
    pub block_cache_bytes: u64,
    /// Bytes that compaction has still to rewrite.
    pub compaction_pending_bytes: u64,
    /// Compactions that run now.
    pub compactions_running: u64,
    /// Whether writes are held back for compaction to catch up.
    pub write_stalled: bool,
    /// Errors of flushes and compactions since the start.
    pub background_errors: u64,
}

/// Why the engine failed. After a failed [`Engine::write`] nobody knows what is on disk: the
/// process must not acknowledge anything more and must restart (`docs/protocol/durability.md`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Stored bytes are damaged. Retrying does not help: the copy must be rebuilt from others.
    #[error("{operation}: stored data is damaged: {detail}")]
    Corruption {
        /// What was being done.
        operation: &'static str,
        /// In the engine's words.
        detail: String,
    },
    /// The disk is full. Free some space, then restart.
    #[error("{operation}: no space left on the disk: {detail}")]
    NoSpace {
        /// What was being done.
        operation: &'static str,
        /// In the engine's words.
        detail: String,
    },
    /// The disk or the file system failed.
    #[error("{operation}: {detail}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// In the engine's words.
        detail: String,
    },
    /// Another process has the data open.
    #[error("{operation}: the data is in use by another process: {detail}")]
    InUse {
        /// What was being done.
        operation: &'static str,
        /// In the engine's words.
        detail: String,
    },
}

/// A storage engine. See the module for what every one of them promises.
pub trait Engine: Send + Sync + 'static {
    /// The value of a key. May read the disk.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// The value of a key, if memory alone can tell. Never blocks on the disk.
    fn get_in_memory(&self, space: Space, key: &[u8]) -> Result<InMemory, EngineError>;

    /// Applies a batch. On an error it may or may not be applied, now or after a restart.
    fn write(&self, batch: &Batch, persistence: Persistence) -> Result<(), EngineError>;

    /// Entries in ascending order of their keys. Fewer than `limit` allows: the range is
    /// exhausted only if it is empty; go on with [`KeyRange::after`] the last key.
    fn scan(
        &self,
        space: Space,
        range: &KeyRange,
        limit: ScanLimit,
    ) -> Result<Vec<Entry>, EngineError>;

    /// Writes out what is in memory, so that the next open is quick. Blocks until done.
    fn flush(&self) -> Result<(), EngineError>;

    /// Throws away files that hold nothing but keys of a range, unread. Call it only for a range that was
    /// deleted, durably, and delete the range again afterwards: older versions of its keys may show.
    fn drop_files(&self, _space: Space, _range: &KeyRange) -> Result<(), EngineError> {
        Ok(())
    }

    /// Gives back the space of what was deleted in a range. Blocks until done; called off the async workers.
    fn compact(&self, _space: Space, _range: &KeyRange) -> Result<(), EngineError> {
        Ok(())
    }

    /// Number of the last applied change; grows with every change and survives a restart.
    fn sequence(&self) -> u64;

    /// Figures for people.
    fn estimates(&self) -> EngineEstimates;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_range_ends_where_the_prefix_does() {
        assert_eq!(KeyRange::with_prefix(&[1, 2]).end, Some(vec![1, 3]));
        assert_eq!(KeyRange::with_prefix(&[1, 0xff, 0xff]).end, Some(vec![2]));
        assert_eq!(KeyRange::with_prefix(&[0xff]).end, None);
    }

    #[test]
    fn after_a_key_comes_the_next_possible_key() {
        let range = KeyRange::with_prefix(b"b");
        assert_eq!(range.after(b"b5").start, b"b5\0");
        assert_eq!(range.after(b"a").start, b"b", "never before the range");
    }
}
