//! Records beside the clients' data, written in a partition's turn and under its group's fsync.
//!
//! The work runs on the partition's committer: nothing else changes the partition's records meanwhile,
//! so it may look, decide and write. It sees what the operations before it in the same group wrote.
//!
//! Leaves to others: what the records mean (`hints`). Ownership is not asked for: a node keeps
//! writes of partitions that it does not own.

use bytes::Bytes;

use super::commit_batch::CommitBatch;
use super::error::ReplicaError;
use crate::storage::{Engine, EngineError, Space};

/// What aside work may look at and change. Reads come first: what fails after a change was made leaves
/// that change in the group.
pub(crate) struct AsideRecords<'group> {
    pub(super) engine: &'group dyn Engine,
    pub(super) batch: &'group mut CommitBatch,
}

impl AsideRecords<'_> {
    /// A record, as the operations before this one left it.
    pub(crate) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.batch.aside(self.engine, space, key)
    }

    /// Sets a record.
    pub(crate) fn put(&mut self, space: Space, key: Bytes, record: Bytes) {
        self.batch.put_aside(space, key, Some(record));
    }

    /// Removes a record.
    pub(crate) fn delete(&mut self, space: Space, key: Bytes) {
        self.batch.put_aside(space, key, None);
    }
}

type Work = Box<dyn FnOnce(&mut AsideRecords<'_>) -> Result<(), ReplicaError> + Send>;

/// Work waiting for its turn.
pub(super) struct Aside {
    /// What it weighs in the queue and in a group.
    pub(super) bytes: usize,
    /// Whether it may be done on a disk that is nearly full.
    pub(super) grows: bool,
    pub(super) work: Work,
}
