//! One thread that writes some of the partitions: it takes what is queued, applies it in order,
//! writes the log once for all, and tells everybody.
//!
//! While a group's fsync runs, the next group gathers in the queue; nobody waits for a group to
//! fill. A minted write is handed out before the log is written, so that the other owners' fsyncs
//! run at the same time; rule V5 makes that safe.

use std::sync::Arc;

use annulus_causality::{HlcClock, KeyState, Received, VnodeClock};
use annulus_ring::{PartitionCount, RingEpoch};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::address::KeyAddress;
use super::aside::{Aside, AsideRecords};
use super::commit_batch::{CommitBatch, LogWrite, Waiter};
use super::error::ReplicaError;
use super::fatal::Fatal;
use super::metrics::ReplicaMetrics;
use super::operation::{Durable, Merge, Merged, Minted, Write};
use super::record::{self, Record};
use super::stage::{self, StageChange};
use super::stored_tree::{self, Checked};
use super::tombstones::{Reclaim, Reclaimed, TombstoneRule};
use super::transition;
use super::vnode::Vnode;
use crate::clock::Clock;
use crate::disk_pace::DiskMeter;
use crate::hash_tree::Block;
use crate::keyspace::Durability;
use crate::mistake::{self, Mistake};
use crate::storage::bounded_queue::BoundedQueue;
use crate::storage::free_space::{FreeSpace, Room};
use crate::storage::high_water::HighWater;
use crate::storage::{Batch, Engine, EngineError, Persistence, Space, SumBlock};
use crate::witness;

/// How much one group commit may gather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupLimit {
    /// Most operations.
    pub(super) operations: usize,
    /// Most bytes; one operation that is larger forms its own group.
    pub(super) bytes: usize,
}

/// One queued operation.
pub(super) enum Operation {
    Mint {
        write: Write,
        vnode: Arc<Vnode>,
        reply: oneshot::Sender<Result<Minted, ReplicaError>>,
    },
    Merge {
        merge: Merge,
        vnode: Arc<Vnode>,
        reply: oneshot::Sender<Result<Merged, ReplicaError>>,
    },
    Aside {
        aside: Aside,
        reply: oneshot::Sender<Result<(), ReplicaError>>,
    },
    /// Reads the root block of a vnode's hash tree, which from then on is kept in memory. Here, because
    /// nobody else knows a moment at which the engine and what is in memory agree.
    ReadRoot {
        vnode: Arc<Vnode>,
        reply: oneshot::Sender<Result<SumBlock, ReplicaError>>,
    },
    /// Compares a block of a vnode's hash tree with the data, and mends it. Here, because nothing else
    /// writes the vnode meanwhile.
    MendTree {
        vnode: Arc<Vnode>,
        partitions: PartitionCount,
        block: Block,
        reply: oneshot::Sender<Result<Checked, ReplicaError>>,
    },
    Reclaim {
        reclaim: Reclaim,
        vnode: Arc<Vnode>,
        reply: oneshot::Sender<Result<Reclaimed, ReplicaError>>,
    },
    /// Answered once all that came before it is in the log.
    Settle {
        reply: oneshot::Sender<Result<(), ReplicaError>>,
    },
    /// A change of the vnode's stage, decided for this incarnation of it.
    Change {
        change: StageChange,
        incarnation: u64,
        vnode: Arc<Vnode>,
        reply: oneshot::Sender<Result<(), ReplicaError>>,
    },
}

/// What an operation costs beside its values.
const OPERATION_BYTES: usize = 512;

impl Operation {
    /// What it weighs in the queue and in a group.
    pub(super) fn bytes(&self) -> usize {
        OPERATION_BYTES
            + match self {
                Self::Mint { write, .. } => write.content.as_ref().map_or(0, Bytes::len),
                Self::Merge { merge, .. } => merge.state.value_bytes(),
                Self::Aside { aside, .. } => aside.bytes,
                Self::ReadRoot { .. }
                | Self::MendTree { .. }
                | Self::Reclaim { .. }
                | Self::Change { .. }
                | Self::Settle { .. } => 0,
            }
    }

    fn refuse(self, error: ReplicaError) {
        // Whoever has stopped waiting is not told.
        match self {
            Self::Mint { reply, .. } => {
                let _ = reply.send(Err(error));
            }
            Self::Merge { reply, .. } => {
                let _ = reply.send(Err(error));
            }
            Self::Aside { reply, .. } | Self::Change { reply, .. } | Self::Settle { reply } => {
                let _ = reply.send(Err(error));
            }
            Self::ReadRoot { reply, .. } => {
                let _ = reply.send(Err(error));
            }
            Self::MendTree { reply, .. } => {
                let _ = reply.send(Err(error));
            }
            Self::Reclaim { reply, .. } => {
                let _ = reply.send(Err(error));
            }
        }
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Mint { reply, .. } => reply.is_closed(),
            Self::Merge { reply, .. } => reply.is_closed(),
            Self::Aside { reply, .. } | Self::Change { reply, .. } | Self::Settle { reply } => {
                reply.is_closed()
            }
            Self::ReadRoot { reply, .. } => reply.is_closed(),
            Self::MendTree { reply, .. } => reply.is_closed(),
            Self::Reclaim { reply, .. } => reply.is_closed(),
        }
    }
}

/// See the module.
pub(super) struct Committer {
    pub(super) queue: Arc<BoundedQueue<Operation>>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) high_water: Option<Arc<HighWater>>,
    pub(super) free_space: Option<Arc<FreeSpace>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) hlc: HlcClock,
    pub(super) limit: GroupLimit,
    pub(super) tombstones: TombstoneRule,
    pub(super) metrics: ReplicaMetrics,
    pub(super) meter: DiskMeter,
    pub(super) fatal: Fatal,
}

/// Stops the node when the thread panics: its keys would have no writer any more.
struct PanicGuard(Fatal);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.raise("a committer thread panicked");
        }
    }
}

impl Committer {
    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let _guard = PanicGuard(self.fatal.clone());
        while let Some(first) = self.queue.pop() {
            let batch = self.apply_group(first);
            self.commit(batch);
        }
    }

    /// Takes what is queued together with `first` and applies it; nothing is written yet.
    pub(super) fn apply_group(&mut self, first: Operation) -> CommitBatch {
        let group = self.gather(first);
        self.metrics.group_operations.observe(group.len() as f64);
        let mut batch = CommitBatch::default();
        for operation in group {
            self.apply(operation, &mut batch);
        }
        batch.seal()
    }

    fn gather(&self, first: Operation) -> Vec<Operation> {
        let mut bytes = first.bytes();
        let mut group = vec![first];
        let room = std::cell::Cell::new(self.limit.operations.saturating_sub(1));
        let is_change = |operation: &Operation| matches!(operation, Operation::Change { .. });
        let alone = is_change(&group[0]);
        // A change of the vnode itself is written by itself, after what came before it.
        let more = |next: &Operation| {
            if alone || is_change(next) {
                return false;
            }
            bytes = bytes.saturating_add(next.bytes());
            bytes <= self.limit.bytes && room.get() > 0
        };
        self.queue.pop_while(more, |operation| {
            room.set(room.get() - 1);
            group.push(operation);
        });
        group
    }

    fn apply(&mut self, operation: Operation, batch: &mut CommitBatch) {
        if operation.is_abandoned() {
            return;
        }
        if self.fatal.is_raised() {
            return operation.refuse(ReplicaError::Stopped { applied: false });
        }
        match operation {
            Operation::Mint {
                write,
                vnode,
                reply,
            } => {
                let durability = write.address.keyspace().durability;
                let (done, waits) = oneshot::channel();
                let minted = self.mint(&write, &vnode, waits, batch);
                if minted.is_ok() {
                    batch.wait(durability, Waiter::Minted(done));
                }
                let _ = reply.send(minted);
            }
            Operation::Merge {
                merge,
                vnode,
                reply,
            } => match self.merge(&merge, &vnode, batch) {
                Ok(merged) => {
                    let waiter = Waiter::Merged {
                        reply,
                        merged,
                        vnode,
                        epoch: merge.fence,
                    };
                    batch.wait(merge.address.keyspace().durability, waiter);
                }
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
            },
            Operation::Aside { aside, reply } => match self.aside(aside, batch) {
                Ok(()) => batch.wait(Durability::Sync, Waiter::Aside(reply)),
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
            },
            Operation::Settle { reply } => batch.wait(Durability::Sync, Waiter::Aside(reply)),
            Operation::ReadRoot { vnode, reply } => {
                let _ = reply.send(self.read_root(&vnode));
            }
            Operation::MendTree {
                vnode,
                partitions,
                block,
                reply,
            } => {
                let _ = reply.send(self.mend_tree(&vnode, partitions, block));
            }
            Operation::Reclaim {
                reclaim,
                vnode,
                reply,
            } => self.reclaim(&reclaim, vnode, reply, batch),
            Operation::Change {
                change,
                incarnation,
                vnode,
                reply,
            } => {
                let _ = reply.send(self.change(change, incarnation, &vnode));
            }
        }
    }

    /// Nothing of this group is in the engine yet: it comes on top when it is written.
    fn read_root(&self, vnode: &Vnode) -> Result<SumBlock, ReplicaError> {
        if let Some(root) = vnode.root() {
            return Ok(root);
        }
        let root = stored_tree::root(self.engine.as_ref(), vnode.partition());
        let root = intact(vnode, root, &self.metrics)?;
        vnode.set_root(root.clone());
        Ok(root)
    }

    /// What this group changes comes on top, in the data and in the tree alike.
    fn mend_tree(
        &self,
        vnode: &Vnode,
        partitions: PartitionCount,
        block: Block,
    ) -> Result<Checked, ReplicaError> {
        let (engine, mut mends) = (self.engine.as_ref(), Batch::new());
        let partition = vnode.partition();
        let checked = stored_tree::check(engine, partitions, partition, block, &mut mends);
        let checked = intact(vnode, checked, &self.metrics)?;
        if !mends.is_empty() {
            let written = engine.write(&mends, Persistence::Buffered);
            written.map_err(|error| {
                self.fatal.raise_for(&error);
                ReplicaError::LogFailed(error)
            })?;
            if vnode.root().is_some() {
                vnode.set_root(stored_tree::root(engine, partition)?);
            }
        }
        Ok(checked)
    }

    fn aside(&self, aside: Aside, batch: &mut CommitBatch) -> Result<(), ReplicaError> {
        if aside.grows {
            // What a node keeps for others is the first to go.
            self.check_room(self.clock.now(), Room::NoBackground)?;
        }
        let engine = self.engine.as_ref();
        (aside.work)(&mut AsideRecords { engine, batch })
    }

    fn change(
        &self,
        change: StageChange,
        incarnation: u64,
        vnode: &Vnode,
    ) -> Result<(), ReplicaError> {
        if vnode.incarnation() != incarnation {
            let partition = vnode.partition();
            return Err(ReplicaError::Rebuilding { partition });
        }
        stage::make(self.engine.as_ref(), vnode, change).map_err(|error| {
            self.fatal.raise_for(&error);
            ReplicaError::LogFailed(error)
        })
    }

    fn mint(
        &mut self,
        write: &Write,
        vnode: &Arc<Vnode>,
        waits: oneshot::Receiver<Result<(), ReplicaError>>,
        batch: &mut CommitBatch,
    ) -> Result<Minted, ReplicaError> {
        self.admit(write.deadline, vnode, write.fence, write.content.is_some())?;
        vnode.serving()?;
        let (address, now_ms) = (&write.address, self.clock.wall_ms());
        let local = self.local_state(address, vnode, batch)?;
        let hlc = &mut self.hlc;
        let transition = leased(&self.fatal, self.engine.as_ref(), vnode, |clock| {
            transition::mint(clock, hlc, now_ms, local.as_deref(), write)
        })??;
        let state = Arc::new(transition.state);
        let record = Record::of(address.stored(), &state);
        if !transition.replayed {
            let bytes = record.bytes().clone();
            batch.put(vnode, address, local.as_deref(), state.clone(), bytes);
        }
        Ok(Minted {
            state,
            encoded: record.state(),
            clock: transition.clock,
            version: transition.version,
            existed: transition.existed,
            replayed: transition.replayed,
            durable: Durable {
                done: waits,
                vnode: vnode.clone(),
                epoch: write.fence,
            },
        })
    }

    fn merge(
        &mut self,
        merge: &Merge,
        vnode: &Arc<Vnode>,
        batch: &mut CommitBatch,
    ) -> Result<Merged, ReplicaError> {
        self.admit(
            merge.deadline,
            vnode,
            merge.fence,
            merge.state.value_bytes() > 0,
        )?;
        witness::merged(self.clock.now(), merge.deadline);
        let (address, now_ms) = (&merge.address, self.clock.wall_ms());
        let local = self.local_state(address, vnode, batch)?;
        let hlc = &mut self.hlc;
        let Received {
            state,
            changed,
            amnesia,
        } = leased(&self.fatal, self.engine.as_ref(), vnode, |clock| {
            transition::receive(clock, hlc, now_ms, local.as_deref(), merge)
        })??;
        // A reaped key that comes back with a late copy is no loss.
        let was_reaped = local.is_none() && self.tombstones.is_due(&merge.state, now_ms);
        if amnesia && !was_reaped {
            self.metrics.forgotten_events.inc();
            tracing::warn!(partition = %address.partition(), "vnode had forgotten its own events");
        }
        let differs = !state.same_as(&merge.state);
        if changed {
            let state = Arc::new(state);
            let record = Record::of(address.stored(), &state);
            batch.put(
                vnode,
                address,
                local.as_deref(),
                state,
                record.bytes().clone(),
            );
        }
        Ok(Merged { changed, differs })
    }

    /// Refuses, before anything has happened, what may not be applied. `grows`: it brings values.
    pub(super) fn admit(
        &self,
        deadline: Instant,
        vnode: &Vnode,
        epoch: RingEpoch,
        grows: bool,
    ) -> Result<(), ReplicaError> {
        let now = self.clock.now();
        if now >= deadline && !mistake::is_made(Mistake::LateMergesApplied) {
            return Err(ReplicaError::DeadlinePassed);
        }
        if grows {
            self.check_room(now, Room::NoValues)?;
        }
        vnode.check_fence(epoch, false)
    }

    /// Refuses where there is as little room as that, or less.
    fn check_room(&self, now: Instant, too_little: Room) -> Result<(), ReplicaError> {
        let full = |space: &Arc<FreeSpace>| space.room(now) >= too_little;
        if self.free_space.as_ref().is_some_and(full) {
            return Err(ReplicaError::DiskFull);
        }
        Ok(())
    }

    pub(super) fn local_state(
        &self,
        address: &KeyAddress,
        vnode: &Vnode,
        batch: &CommitBatch,
    ) -> Result<Option<Arc<KeyState>>, ReplicaError> {
        let stored = address.stored();
        if let Some(state) = batch.state(stored) {
            return Ok(state.clone());
        }
        let read = self.engine.get(Space::Data, stored);
        let state = decode_read(vnode, address.stored(), read, &self.metrics)?;
        Ok(state.map(Arc::new))
    }

    fn commit(&self, batch: CommitBatch) {
        // What asks for no fsync goes first, so that it does not wait for one.
        for (log, persistence) in [
            (batch.buffered, Persistence::Buffered),
            (batch.synced, Persistence::Synced),
        ] {
            self.write_log(log, persistence, self.clock.now());
        }
    }

    /// `begun`: when it was the disk's turn.
    pub(super) fn write_log(&self, log: LogWrite, persistence: Persistence, begun: Instant) {
        if let Err(error) = self.try_write_log(&log, persistence, begun)
            && !mistake::is_made(Mistake::FailedSyncIgnored)
        {
            self.fatal.raise_for(&error);
            let failed = |waiter: Waiter| waiter.failed(ReplicaError::LogFailed(error.clone()));
            return log.waiters.into_iter().for_each(failed);
        }
        log.waiters.into_iter().for_each(Waiter::held);
    }

    fn try_write_log(
        &self,
        log: &LogWrite,
        persistence: Persistence,
        begun: Instant,
    ) -> Result<(), EngineError> {
        if log.batch.is_empty() {
            return Ok(());
        }
        self.metrics.log_bytes.inc_by(log.batch.bytes() as u64);
        let before = self.engine.sequence();
        self.engine.write(&log.batch, persistence)?;
        if !log.late.is_empty() {
            self.engine.write(&log.late, Persistence::Buffered)?;
        }
        log.written();
        if persistence == Persistence::Synced {
            let now = self.clock.now();
            let took = now.saturating_duration_since(begun);
            self.metrics.log_sync_seconds.observe(took.as_secs_f64());
            self.meter.synced(now, took);
            if let Some(high_water) = &self.high_water {
                // At least that far: others' changes may lie between.
                high_water.reached(before + log.batch.changes().len() as u64);
            }
        }
        Ok(())
    }
}

/// Uses a vnode's clock. A lease that could not be written is a failed log write like any other.
fn leased<T>(
    fatal: &Fatal,
    engine: &dyn Engine,
    vnode: &Vnode,
    work: impl FnOnce(&mut VnodeClock) -> T,
) -> Result<T, ReplicaError> {
    vnode.with_clock(engine, work).map_err(|error| {
        fatal.raise_for(&error);
        ReplicaError::Stopped { applied: false }
    })
}

/// What the engine returned for a key, as a state. Damage is counted, reported and noted here.
pub(super) fn decode_read(
    vnode: &Vnode,
    stored: &Bytes,
    read: Result<Option<Bytes>, EngineError>,
    metrics: &ReplicaMetrics,
) -> Result<Option<KeyState>, ReplicaError> {
    let state = match read {
        Ok(None) => return Ok(None),
        Ok(Some(bytes)) => record::decode(stored, &bytes),
        Err(EngineError::Corruption { detail, .. }) => Err(detail),
        Err(error) => return Err(error.into()),
    };
    if state.is_err() && mistake::is_made(Mistake::DamageReadsAsAbsent) {
        return Ok(None);
    }
    state
        .map(Some)
        .map_err(|detail| damaged(vnode, detail, metrics))
}

/// What the engine returned for a vnode, damage noted.
pub(super) fn intact<T>(
    vnode: &Vnode,
    read: Result<T, EngineError>,
    metrics: &ReplicaMetrics,
) -> Result<T, ReplicaError> {
    read.map_err(|error| match error {
        EngineError::Corruption { detail, .. } => damaged(vnode, detail, metrics),
        error => error.into(),
    })
}

/// The error of damage that somebody met in a vnode.
pub(super) fn damaged(vnode: &Vnode, detail: String, metrics: &ReplicaMetrics) -> ReplicaError {
    let partition = vnode.partition();
    metrics.corrupt_records.inc();
    tracing::error!(%partition, detail, "a stored record is damaged");
    vnode.note_damage();
    ReplicaError::Corrupt { partition, detail }
}
