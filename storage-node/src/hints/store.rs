//! Keeps hints, removes them, and marks what was not kept. The driver.
//!
//! All changes of one key's hint are made by its partition's committer, in turn: so a write that comes
//! while an earlier one is on its way joins it, and a removal takes only what was sent.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annulus_causality::KeyState;
use annulus_proto::model::{ErrorCode, RequestError};
use annulus_ring::{NodeId, PartitionId};
use bytes::Bytes;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::backlog::{Backlog, DropReason, Item, TargetBacklog};
use super::credit::Credit;
use super::marks::{MARK_PREFIX, MarkNumber, Marks, Place, mark_key, read_mark};
use super::metrics::HintMetrics;
use super::record::{self, Hint};
use crate::clock::Clock;
use crate::config::HintLimits;
use crate::keyspace::{ConflictPolicy, Keyspaces};
use crate::mistake::{self, Mistake};
use crate::overload::Overload;
use crate::replica::{AsideRecords, KeyAddress, Replica, ReplicaError};
use crate::storage::key_encoding::DecodedKey;
use crate::storage::{EngineError, Entry, KeyRange, ScanLimit, Space};

/// What a start reads at a time.
const LOAD_PAGE: ScanLimit = ScanLimit {
    entries: 4096,
    bytes: 64 << 20,
};

/// What one delivery sends at most, but for a single hint that is larger. The receiver merges it as one: clients'
/// writes there wait for so much (`docs/benchmarks.md`).
const DELIVERY_PAGE: ScanLimit = ScanLimit {
    entries: 64,
    bytes: 256 << 10,
};

/// What hints are kept and received with.
pub(crate) struct HintParts {
    /// Bounds.
    pub(crate) limits: HintLimits,
    /// The disk's size, if it has one.
    pub(crate) disk_bytes: Option<u64>,
    /// How far the taking of hints gives way to clients.
    pub(crate) overload: Overload,
    /// This node's copies, with whose committers hints are written.
    pub(crate) replica: Replica,
    /// The keyspaces.
    pub(crate) keyspaces: Arc<Keyspaces>,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
    /// What goes on after a request was answered.
    pub(crate) tasks: TaskTracker,
    /// Figures.
    pub(crate) metrics: HintMetrics,
}

/// The hints of this node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Hints(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) limits: HintLimits,
    max_bytes: u64,
    pub(super) overload: Overload,
    pub(super) replica: Replica,
    pub(super) keyspaces: Arc<Keyspaces>,
    pub(super) clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    pub(super) metrics: HintMetrics,
    backlog: Mutex<Backlog>,
    /// Whether some target misses writes, as [`Backlog::is_anyone_away`] says. Set under its lock.
    is_anyone_away: AtomicBool,
    pub(super) credit: Mutex<Credit>,
    /// What lacks writes that nobody keeps.
    marks: Mutex<Marks>,
    /// Moves when a target is owed its first hint.
    changes: watch::Sender<u64>,
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hints")
            .field("targets", &self.0.backlog.lock().all().len())
            .finish_non_exhaustive()
    }
}

/// For whom a write is kept, and what it is.
#[derive(Debug, Clone)]
pub(crate) struct KeepFor {
    /// The owner that is away.
    pub(crate) target: NodeId,
    /// The key.
    pub(crate) address: KeyAddress,
    /// What the owner lacks.
    pub(crate) state: KeyState,
}

/// A hint as it lies on disk.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) key: Bytes,
    pub(super) record: Bytes,
    pub(super) partition: PartitionId,
    pub(super) content: Result<(DecodedKey, Hint), String>,
}

impl Stored {
    /// Whether it was counted for an acknowledgement, as far as can be told.
    pub(super) fn is_sloppy(&self) -> bool {
        self.content.as_ref().is_ok_and(|(_, hint)| hint.sloppy)
    }
}

impl Hints {
    /// Counts what is on disk; reads all of it. Blocks.
    pub(crate) fn load(parts: HintParts) -> Result<Self, EngineError> {
        let HintParts {
            limits,
            disk_bytes,
            overload,
            replica,
            keyspaces,
            clock,
            tasks,
            metrics,
        } = parts;
        let backlog = load_backlog(&replica)?;
        let marks = load_marks(&replica)?;
        let credit = Credit::new(limits.receive_bytes_per_second, clock.now());
        Ok(Self(Arc::new(Inner {
            max_bytes: disk_bytes.map_or(limits.max_bytes, |bytes| limits.max_bytes_on(bytes)),
            limits,
            overload,
            replica,
            keyspaces,
            clock,
            tasks,
            metrics,
            is_anyone_away: AtomicBool::new(backlog.is_anyone_away()),
            backlog: Mutex::new(backlog),
            credit: Mutex::new(credit),
            marks: Mutex::new(marks),
            changes: watch::Sender::new(0),
        })))
    }

    /// Keeps a write for an owner that has not taken it, if the bounds allow it. Goes on by itself.
    pub(crate) fn keep_later(&self, kept: KeepFor) {
        let (target, partition) = (kept.target, kept.address.partition());
        let Some(hint) = Hint::of(kept.state, false) else {
            return; // nothing was written
        };
        let bytes = kept.address.stored_bytes().len() + hint.state.value_bytes();
        let now_ms = self.0.clock.wall_ms();
        let admitted = {
            let mut backlog = self.0.backlog.lock();
            self.0.is_anyone_away.store(true, Ordering::Relaxed);
            let (limits, max_bytes) = (&self.0.limits, self.0.max_bytes);
            backlog.admit(target, bytes as u64, limits, max_bytes, now_ms)
        };
        if let Err(reason) = admitted {
            self.dropped(target, partition, reason);
            return;
        }
        let hints = self.clone();
        self.0.tasks.spawn(async move {
            let stored = hints.put(target, &kept.address, hint).await;
            hints.0.backlog.lock().no_longer_waiting();
            match stored {
                // The node ends, or its log has failed: nothing can be kept or marked.
                Ok(()) | Err(ReplicaError::Stopped { .. } | ReplicaError::LogFailed(_)) => {}
                Err(ReplicaError::DiskFull) => {
                    hints.dropped(target, partition, DropReason::DiskFull);
                }
                Err(ReplicaError::Overloaded { .. }) => {
                    hints.dropped(target, partition, DropReason::Waiting);
                }
                Err(error) => {
                    tracing::warn!(%error, "a write was not kept for an owner that is away");
                    hints.dropped(target, partition, DropReason::Failed);
                }
            }
        });
    }

    /// Whether one more sloppy write of so many bytes would be kept.
    pub(crate) fn has_sloppy_room(&self, bytes: usize) -> bool {
        let backlog = self.0.backlog.lock();
        backlog.has_sloppy_room(bytes as u64, &self.0.limits)
            || mistake::is_made(Mistake::SloppyHintDropped)
    }

    /// Keeps a sloppy write: on disk when this returns, and until its owner has it.
    pub(crate) async fn keep_sloppy(
        &self,
        kept: KeepFor,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let bytes = kept.address.stored_bytes().len() + kept.state.value_bytes();
        let has_room = (self.0.backlog.lock()).has_sloppy_room(bytes as u64, &self.0.limits);
        if !has_room {
            if mistake::is_made(Mistake::SloppyHintDropped) {
                return Ok(());
            }
            let message = format!(
                "{} bytes of sloppy writes are kept here, as many as may be",
                self.0.limits.max_sloppy_bytes
            );
            return Err(RequestError::rejected(ErrorCode::DiskFull, message));
        }
        let Some(hint) = Hint::of(kept.state, true) else {
            let message = "state: holds nothing that was written";
            return Err(RequestError::rejected(ErrorCode::InvalidArgument, message));
        };
        let put = self.put(kept.target, &kept.address, hint);
        let in_time = timeout_at(deadline, put).await.map_err(|_| {
            let message = "the sloppy write was not on disk in time";
            RequestError::unknown(ErrorCode::Timeout, message)
        })?;
        Ok(in_time?)
    }

    async fn put(
        &self,
        target: NodeId,
        address: &KeyAddress,
        hint: Hint,
    ) -> Result<(), ReplicaError> {
        let (inner, partition) = (self.0.clone(), address.partition());
        let policy = address.keyspace().conflict;
        let key = record::key(target, address.stored_bytes());
        let bytes = key.len() + hint.state.value_bytes();
        let sloppy = hint.sloppy;
        let work = move |records: &mut AsideRecords<'_>| {
            Ok(inner.put_in_turn(records, (target, partition), key, hint, policy)?)
        };
        let replica = &self.0.replica;
        replica.write_aside(partition, (bytes, true), work).await?;
        self.0.metrics.stored(sloppy);
        Ok(())
    }

    /// The next hints of a target, in the order of their keys.
    pub(super) async fn page(
        &self,
        target: NodeId,
        after: Option<&Bytes>,
    ) -> Result<Vec<Stored>, ReplicaError> {
        let range = record::range_of(target);
        let range = after.map_or_else(|| range.clone(), |after| range.after(after));
        let replica = &self.0.replica;
        let found = replica
            .scan_aside(Space::Hints, range, DELIVERY_PAGE)
            .await?;
        Ok(found.into_iter().filter_map(read).collect())
    }

    /// Removes hints of a target that are still what is given here.
    pub(super) async fn remove(
        &self,
        target: NodeId,
        gone: Vec<Stored>,
    ) -> Result<(), ReplicaError> {
        let mut by_partition: Vec<(PartitionId, Vec<Stored>)> = Vec::new();
        for stored in gone {
            match by_partition.last_mut() {
                Some((partition, same)) if *partition == stored.partition => same.push(stored),
                _ => by_partition.push((stored.partition, vec![stored])),
            }
        }
        let removals = by_partition.into_iter().map(|(partition, gone)| {
            let inner = self.0.clone();
            let bytes = gone.iter().map(|stored| stored.key.len()).sum();
            let work = move |records: &mut AsideRecords<'_>| {
                Ok(inner.remove_in_turn(records, (target, partition), gone)?)
            };
            self.0.replica.write_aside(partition, (bytes, false), work)
        });
        let removed = join_all(removals).await;
        removed.into_iter().collect()
    }

    /// An ordinary hint is not kept, or no more: counts it, and marks its partition at the target.
    pub(super) fn dropped(&self, target: NodeId, partition: PartitionId, reason: DropReason) {
        self.0.metrics.dropped(reason);
        let place = (target, partition);
        if !self.0.marks.lock().set(place) {
            return;
        }
        tracing::info!(%target, %partition, reason = reason.as_str(), "hints are dropped");
        self.write_mark(place);
    }

    /// Partitions that lack writes at a node, which nobody keeps for it: to be compared with it.
    pub(crate) fn repairs_needed(&self) -> Vec<(PartitionId, NodeId)> {
        let marks = self.0.marks.lock();
        let places = marks.places();
        places
            .map(|(target, partition)| (partition, target))
            .collect()
    }

    /// The mark for [`Self::repairs_needed`], to be asked for before a comparison begins.
    pub(crate) fn mark(&self, partition: PartitionId, target: NodeId) -> Option<MarkNumber> {
        self.0.marks.lock().number((target, partition))
    }

    /// The partition was compared with the node, from when it had this mark on. What was lost since then
    /// stays marked.
    pub(crate) fn repaired(&self, partition: PartitionId, target: NodeId, mark: MarkNumber) {
        let place = (target, partition);
        if self.0.marks.lock().clear(place, mark) {
            self.write_mark(place);
        }
    }

    /// Brings the record of a mark in line with memory; in which order this is done does not matter, since
    /// each looks in the partition's turn. A mark that is lost in a crash before it is on disk was lost
    /// with the hint that it stands for.
    fn write_mark(&self, place: Place) {
        let (target, partition) = place;
        let hints = self.clone();
        self.0.tasks.spawn(async move {
            let key: Bytes = mark_key(place).into();
            let (inner, weight) = (hints.0.clone(), (key.len(), false));
            let work = move |records: &mut AsideRecords<'_>| {
                if inner.marks.lock().number(place).is_some() {
                    records.put(Space::Meta, key, Bytes::new());
                } else {
                    records.delete(Space::Meta, key);
                }
                Ok(())
            };
            let written = hints.0.replica.write_aside(partition, weight, work).await;
            if let Err(error) = written {
                tracing::warn!(%error, %target, %partition, "a mark for repair was not written");
            }
        });
    }

    /// The target takes writes again. Cheap while nobody misses any: called for each write that it takes.
    pub(crate) fn reached(&self, target: NodeId) {
        if self.0.is_anyone_away.load(Ordering::Relaxed) {
            let mut backlog = self.0.backlog.lock();
            backlog.reached(target);
            let is_anyone_away = backlog.is_anyone_away();
            self.0
                .is_anyone_away
                .store(is_anyone_away, Ordering::Relaxed);
        }
    }

    /// What is kept for a target.
    pub(crate) fn backlog_of(&self, target: NodeId) -> TargetBacklog {
        self.0.backlog.lock().of(target)
    }

    /// What is kept, target by target.
    pub(crate) fn backlog(&self) -> Vec<(NodeId, TargetBacklog)> {
        self.0.backlog.lock().all()
    }

    /// Bytes of all that is kept.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        self.0.backlog.lock().bytes()
    }

    /// The age of something written at that wall time.
    pub(crate) fn age_ms(&self, written_ms: u64) -> u64 {
        self.0.clock.wall_ms().saturating_sub(written_ms)
    }

    /// Sloppy writes of the partition that wait here for their owners.
    pub(crate) fn undelivered_sloppy(&self, partition: PartitionId) -> u64 {
        self.0.backlog.lock().sloppy_of(partition)
    }

    /// Moves when a target is owed its first hint.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }
}

impl Inner {
    /// On the partition's committer.
    fn put_in_turn(
        &self,
        records: &mut AsideRecords<'_>,
        (target, partition): (NodeId, PartitionId),
        key: Bytes,
        hint: Hint,
        policy: ConflictPolicy,
    ) -> Result<(), EngineError> {
        let before = records.get(Space::Hints, &key)?;
        let old = before.as_ref().and_then(|old| Hint::decode(&key, old).ok());
        let hint = match old {
            Some(old) => old.followed_by(hint, policy),
            None => hint,
        };
        let record = hint.encode(&key);
        let before = before.map(|old| item_of(&key, &old));
        let now = item_of(&key, &record);
        records.put(Space::Hints, key, record);
        if self.backlog.lock().put(target, partition, before, now) {
            // Told here, where it is counted: who asked may have stopped waiting before it is on disk.
            self.changed();
        }
        Ok(())
    }

    /// On the partition's committer.
    fn remove_in_turn(
        &self,
        records: &mut AsideRecords<'_>,
        (target, partition): (NodeId, PartitionId),
        gone: Vec<Stored>,
    ) -> Result<(), EngineError> {
        for Stored { key, record, .. } in gone {
            if records.get(Space::Hints, &key)?.as_ref() != Some(&record) {
                continue; // a later write has joined it
            }
            let item = item_of(&key, &record);
            records.delete(Space::Hints, key);
            self.backlog.lock().remove(target, partition, item);
        }
        Ok(())
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// A key that is none is passed over: nobody could say whose it is.
fn read(entry: Entry) -> Option<Stored> {
    let Entry { key, value: record } = entry;
    let Some((_, decoded)) = record::split_key(&key) else {
        tracing::error!(?key, "a hint's key is damaged");
        return None;
    };
    Some(Stored {
        partition: decoded.partition,
        content: Hint::decode(&key, &record).map(|hint| (decoded, hint)),
        key,
        record,
    })
}

/// The same for the same bytes, damaged or not, so that sums stay right.
fn item_of(key: &Bytes, record: &Bytes) -> Item {
    let hint = Hint::decode(key, record).ok();
    Item {
        bytes: (key.len() + record.len()) as u64,
        sloppy: hint.as_ref().is_some_and(|hint| hint.sloppy),
        written: hint.map_or_else(Default::default, |hint| hint.written),
    }
}

fn load_backlog(replica: &Replica) -> Result<Backlog, EngineError> {
    let mut backlog = Backlog::default();
    let mut range = KeyRange::default();
    loop {
        let page = replica.scan_at_start(Space::Hints, &range, LOAD_PAGE)?;
        let Some(last) = page.last() else {
            break;
        };
        range = range.after(&last.key);
        for entry in &page {
            if let Some((target, decoded)) = record::split_key(&entry.key) {
                let item = item_of(&entry.key, &entry.value);
                backlog.put(target, decoded.partition, None, item);
            }
        }
    }
    backlog.loaded();
    Ok(backlog)
}

fn load_marks(replica: &Replica) -> Result<Marks, EngineError> {
    let mut marks = Marks::default();
    let mut range = KeyRange::with_prefix(MARK_PREFIX);
    loop {
        let page = replica.scan_at_start(Space::Meta, &range, LOAD_PAGE)?;
        let Some(last) = page.last() else {
            return Ok(marks);
        };
        range = range.after(&last.key);
        for place in page.iter().filter_map(|entry| read_mark(&entry.key)) {
            marks.set(place);
        }
    }
}
