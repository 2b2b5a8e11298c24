//! The vnodes of this node: the identity of each copy of a partition, its supply of key epochs,
//! its fence, and the root block of its hash tree.
//!
//! Invariants: a vnode's record is on disk before the vnode is used, and so is every lease of key
//! epochs (rule V2); the fence never falls while the node runs; a vnode that may lack something it
//! once acknowledged, or should hold, does not serve ([`super::stage`] changes that).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use annulus_causality::{VnodeClock, VnodeId, VnodeRecord};
use annulus_ring::{MoveId, PartitionId, RingEpoch};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::error::ReplicaError;
use super::operation::{Held, VnodeStatus};
use super::rebuilding::Rebuilding;
use super::stage::{self, Founding, Newcomer};
use crate::entropy::Randomness;
use crate::mistake::{self, Mistake};
use crate::storage::{
    Batch, Engine, EngineError, KeyRange, Persistence, ScanLimit, Space, SumBlock,
};

const KEY_PREFIX: &[u8] = b"vnode/";

/// The fence of a vnode whose partition this node does not own: no epoch passes.
const NOT_OWNED: u64 = u64::MAX;

/// There are at most 16,384 partitions, so one scan sees all records.
const ALL_RECORDS: ScanLimit = ScanLimit {
    entries: 1 << 16,
    bytes: usize::MAX,
};

/// One vnode.
pub(super) struct Vnode {
    partition: PartitionId,
    fence: AtomicU64,
    /// Used by the partition's committer only, except for a look at it.
    clock: Mutex<VnodeClock>,
    /// As on disk; `None` until somebody asks. Changed by the partition's committer only.
    root: Mutex<Option<SumBlock>>,
    /// Counts the times that the data was given up, from 1.
    incarnation: AtomicU64,
    /// The incarnation that may answer; [`SERVES_NOT`] while none may.
    serving: AtomicU64,
    /// How far the vnode is filled; `None`: it is whole.
    rebuilding: Mutex<Option<Rebuilding>>,
    /// It is to be rebuilt: somebody met damage in this incarnation, or its disk counts as lost.
    damaged: AtomicBool,
    /// Somebody met damage in this incarnation.
    met_damage: AtomicBool,
    /// The move that it was made for.
    joined: Option<MoveId>,
    /// That move has not made this node an owner yet, and looks after the copy.
    joining: AtomicBool,
    /// How often this node began to hold it since it started.
    tenures: AtomicU64,
    /// Told when there is something to rebuild.
    attention: Arc<Notify>,
}

/// No incarnation may answer.
const SERVES_NOT: u64 = 0;

impl fmt::Debug for Vnode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vnode")
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}

impl Vnode {
    fn new(newcomer: Newcomer, clock: VnodeClock, attention: Arc<Notify>) -> Arc<Self> {
        let Newcomer {
            partition,
            rebuilding,
            joined,
        } = newcomer;
        let first = 1;
        let serving = if rebuilding.is_some() {
            SERVES_NOT
        } else {
            first
        };
        Arc::new(Self {
            partition,
            fence: AtomicU64::new(NOT_OWNED),
            clock: Mutex::new(clock),
            root: Mutex::default(),
            incarnation: AtomicU64::new(first),
            serving: AtomicU64::new(serving),
            rebuilding: Mutex::new(rebuilding),
            damaged: AtomicBool::new(false),
            met_damage: AtomicBool::new(false),
            joined,
            joining: AtomicBool::new(false),
            tenures: AtomicU64::new(0),
            attention,
        })
    }

    /// Identity of this copy of the data.
    pub(super) fn vnode_id(&self) -> VnodeId {
        self.clock.lock().vnode_id()
    }

    pub(super) fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The root block of the vnode's hash tree, if it was read already.
    pub(super) fn root(&self) -> Option<SumBlock> {
        self.root.lock().clone()
    }

    /// What the engine holds now.
    pub(super) fn set_root(&self, root: SumBlock) {
        *self.root.lock() = Some(root);
    }

    /// The engine has taken these changes.
    pub(super) fn root_changed(&self, changes: &SumBlock) {
        if let Some(root) = &mut *self.root.lock() {
            root.combine(&changes.encode());
        }
    }

    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// The incarnation that answers. Whoever reads asks again afterwards: what a vnode gave up meanwhile
    /// must not pass for absent.
    pub(super) fn serving(&self) -> Result<u64, ReplicaError> {
        let partition = self.partition;
        match self.serving.load(Ordering::Acquire) {
            SERVES_NOT => Err(ReplicaError::Rebuilding { partition }),
            incarnation => Ok(incarnation),
        }
    }

    /// As [`Self::serving`], for reads.
    pub(super) fn readable(&self) -> Result<u64, ReplicaError> {
        if mistake::is_made(Mistake::RebuildingAnswersAbsent) {
            return Ok(1);
        }
        self.serving()
    }

    /// Whether a read that began in that incarnation saw what it says.
    pub(super) fn still_readable(&self, since: u64) -> Result<(), ReplicaError> {
        let partition = self.partition;
        if self.readable()? == since {
            Ok(())
        } else {
            Err(ReplicaError::Rebuilding { partition })
        }
    }

    pub(super) fn rebuilding(&self) -> Option<Rebuilding> {
        self.rebuilding.lock().clone()
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    fn is_unsound(&self) -> bool {
        self.is_owned()
            && !self.joining.load(Ordering::Acquire)
            && (self.is_damaged() || self.rebuilding.lock().is_some())
    }

    /// Whether something of it could not be read: others can't count on it.
    pub(super) fn has_met_damage(&self) -> bool {
        self.met_damage.load(Ordering::Acquire)
    }

    /// Somebody met damage: the vnode is to be rebuilt when the other owners allow it.
    pub(super) fn note_damage(&self) {
        self.met_damage.store(true, Ordering::Release);
        self.distrust();
    }

    /// It is to be rebuilt when the other owners allow it, whatever it holds.
    fn distrust(&self) {
        if !self.damaged.swap(true, Ordering::AcqRel) {
            self.attention.notify_one();
        }
    }

    /// Answers nothing until it is changed or [`Self::resume`]d; keeps what it has.
    pub(super) fn suspend(&self) {
        self.serving.store(SERVES_NOT, Ordering::Release);
    }

    /// Answers again, if it is whole.
    pub(super) fn resume(&self) {
        let rebuilding = self.rebuilding.lock();
        if rebuilding.is_none() {
            self.serving.store(self.incarnation(), Ordering::Release);
        }
    }

    /// The data was given up: a new incarnation begins, empty.
    pub(super) fn begin_again(&self, clock: VnodeClock, rebuilding: Rebuilding) {
        *self.rebuilding.lock() = Some(rebuilding);
        *self.clock.lock() = clock;
        self.damaged.store(false, Ordering::Release);
        self.met_damage.store(false, Ordering::Release);
        self.incarnation.fetch_add(1, Ordering::AcqRel);
        self.attention.notify_one();
    }

    /// It was filled so far; `None`: it is whole and serves.
    pub(super) fn filled(&self, rebuilding: Option<Rebuilding>) {
        let is_whole = rebuilding.is_none();
        *self.rebuilding.lock() = rebuilding;
        if is_whole {
            self.resume();
        }
    }

    /// Whether an operation of that epoch may be served.
    pub(super) fn check_fence(&self, epoch: RingEpoch, applied: bool) -> Result<(), ReplicaError> {
        let partition = self.partition;
        if applied && mistake::is_made(Mistake::FenceOnlyBefore) {
            return Ok(());
        }
        match self.fence.load(Ordering::Acquire) {
            NOT_OWNED => Err(ReplicaError::NotOwner { partition, applied }),
            fence if epoch.0 < fence => Err(ReplicaError::StaleEpoch {
                partition,
                epoch,
                fence: RingEpoch(fence),
                applied,
            }),
            _ => Ok(()),
        }
    }

    /// Called under [`Vnodes::changing`] only.
    fn raise_fence(&self, epoch: RingEpoch) {
        let held = self.fence.load(Ordering::Acquire);
        if held == NOT_OWNED {
            self.tenures.fetch_add(1, Ordering::AcqRel);
        }
        if held == NOT_OWNED || held < epoch.0 {
            self.fence.store(epoch.0, Ordering::Release);
        }
    }

    /// Called under [`Vnodes::changing`] only.
    fn release(&self) {
        self.fence.store(NOT_OWNED, Ordering::Release);
    }

    fn is_owned(&self) -> bool {
        self.fence.load(Ordering::Acquire) != NOT_OWNED
    }

    /// Lets a committer use the clock, with a durable lease. Writes the log when one is due.
    pub(super) fn with_clock<T>(
        &self,
        engine: &dyn Engine,
        work: impl FnOnce(&mut VnodeClock) -> T,
    ) -> Result<T, EngineError> {
        let mut clock = self.clock.lock();
        if let Some(lease) = clock.needs_lease() {
            let mut batch = Batch::new();
            put_record(&mut batch, self.partition, &lease);
            engine.write(&batch, Persistence::Synced)?;
            clock.lease_granted(&lease);
            leave_out_rule(&mut clock);
        }
        Ok(work(&mut clock))
    }
}

/// All vnodes whose data this node holds.
pub(super) struct Vnodes {
    by_partition: RwLock<BTreeMap<PartitionId, Arc<Vnode>>>,
    /// Held while ownership changes.
    changing: Mutex<()>,
    founding: Founding,
    attention: Arc<Notify>,
}

impl Vnodes {
    /// Loads the records; nothing is owned yet. `clean`: how the last run ended. On disk when
    /// this returns: the first lease of each.
    pub(super) fn load(
        engine: &dyn Engine,
        clean: bool,
        founding: Founding,
    ) -> Result<Self, EngineError> {
        let attention = Arc::new(Notify::new());
        let mut rebuilding = stage::load(engine)?;
        if !rebuilding.is_empty() {
            attention.notify_one();
        }
        let mut clocks = Vec::new();
        for entry in engine.scan(Space::Meta, &KeyRange::with_prefix(KEY_PREFIX), ALL_RECORDS)? {
            let (partition, record) = decode_record(&entry.key, &entry.value)?;
            clocks.push((partition, VnodeClock::open(record, clean)));
        }
        lease_all(engine, &mut clocks)?;
        let mut joined = stage::load_joined(engine)?;
        let vnodes = clocks.into_iter().map(|(partition, clock)| {
            let found = Newcomer {
                partition,
                rebuilding: rebuilding.remove(&partition),
                joined: joined.remove(&partition),
            };
            (partition, Vnode::new(found, clock, attention.clone()))
        });
        Ok(Self {
            by_partition: RwLock::new(vnodes.collect()),
            changing: Mutex::new(()),
            founding,
            attention,
        })
    }

    /// Told when there is something to rebuild.
    pub(super) fn attention(&self) -> &Notify {
        &self.attention
    }

    /// The disk can't be trusted: every vnode that is owned and holds data is to be rebuilt.
    pub(super) fn distrust(&self) {
        let vnodes = self.by_partition.read();
        let holding = |vnode: &&Arc<Vnode>| vnode.is_owned() && vnode.rebuilding.lock().is_none();
        vnodes
            .values()
            .filter(holding)
            .for_each(|vnode| vnode.distrust());
    }

    /// The vnodes that are owned and not as they should be.
    pub(super) fn unsound(&self) -> Vec<Arc<Vnode>> {
        let vnodes = self.by_partition.read();
        let unsound = |vnode: &&Arc<Vnode>| vnode.is_unsound();
        vnodes.values().filter(unsound).cloned().collect()
    }

    /// Whether there are any [`Self::unsound`].
    pub(super) fn has_unsound(&self) -> bool {
        let vnodes = self.by_partition.read();
        vnodes.values().any(|vnode| vnode.is_unsound())
    }

    /// Makes this node the holder of exactly these partitions. On disk when this returns: the records of those that
    /// are new. They have to be filled, unless the ring begins.
    pub(super) fn hold(
        &self,
        engine: &dyn Engine,
        randomness: &dyn Randomness,
        held: &[Held],
        epoch: RingEpoch,
        now_ms: u64,
    ) -> Result<(), EngineError> {
        let _one_at_a_time = self.changing.lock();
        let missing: Vec<Newcomer> = {
            let known = self.by_partition.read();
            let absent = held
                .iter()
                .filter(|held| !known.contains_key(&held.partition));
            absent
                .map(|held| self.newcomer(held, epoch, now_ms))
                .collect()
        };
        stage::found(engine, &missing)?;
        let create =
            |new: &Newcomer| (new.partition, VnodeClock::create(VnodeId(randomness.u64())));
        let mut clocks: Vec<_> = missing.iter().map(create).collect();
        lease_all(engine, &mut clocks)?;
        if missing.iter().any(|new| new.rebuilding.is_some()) {
            self.attention.notify_one();
        }
        let kept: BTreeSet<_> = held.iter().map(|held| held.partition).collect();
        let mut known = self.by_partition.write();
        known.extend(
            missing
                .into_iter()
                .zip(clocks)
                .map(|(new, (partition, clock))| {
                    (partition, Vnode::new(new, clock, self.attention.clone()))
                }),
        );
        for (partition, vnode) in known.iter() {
            if !kept.contains(partition) {
                vnode.release();
            }
        }
        for held in held {
            if let Some(vnode) = known.get(&held.partition) {
                vnode.joining.store(held.joins.is_some(), Ordering::Release);
                vnode.raise_fence(held.fence);
            }
        }
        Ok(())
    }

    fn newcomer(&self, held: &Held, epoch: RingEpoch, now_ms: u64) -> Newcomer {
        let origin = self.founding.origin(epoch, held.joins.is_some());
        Newcomer {
            partition: held.partition,
            rebuilding: origin.map(|origin| Rebuilding::begin(origin, now_ms)),
            joined: held.joins,
        }
    }

    /// Releases those that join a partition of which there is a copy that their move did not make; which they are.
    pub(super) fn release_leftovers(&self, held: &[Held]) -> Vec<PartitionId> {
        let _one_at_a_time = self.changing.lock();
        let known = self.by_partition.read();
        let mut leftovers = Vec::new();
        for held in held.iter().filter(|held| held.joins.is_some()) {
            if let Some(vnode) = known.get(&held.partition)
                && vnode.joined != held.joins
            {
                vnode.release();
                leftovers.push(held.partition);
            }
        }
        leftovers
    }

    /// The vnodes that are on disk and not held.
    pub(super) fn released(&self) -> Vec<PartitionId> {
        let vnodes = self.by_partition.read();
        let released = vnodes.iter().filter(|(_, vnode)| !vnode.is_owned());
        released.map(|(partition, _)| *partition).collect()
    }

    /// The tenure that has ended of a vnode that is not held.
    pub(super) fn ended_tenure(&self, partition: PartitionId) -> Option<u64> {
        let vnodes = self.by_partition.read();
        let vnode = vnodes.get(&partition).filter(|vnode| !vnode.is_owned());
        vnode.map(|vnode| vnode.tenures.load(Ordering::Acquire))
    }

    /// Erases a vnode, if it was not held again since that tenure ended. Whether it did.
    pub(super) fn erase(
        &self,
        engine: &dyn Engine,
        partition: PartitionId,
        tenure: u64,
    ) -> Result<bool, EngineError> {
        let _one_at_a_time = self.changing.lock();
        if self.ended_tenure(partition) != Some(tenure) {
            return Ok(false);
        }
        stage::erase(engine, partition)?;
        self.by_partition.write().remove(&partition);
        Ok(true)
    }

    /// A vnode that is owned.
    pub(super) fn get(&self, partition: PartitionId) -> Result<Arc<Vnode>, ReplicaError> {
        let found = self.by_partition.read().get(&partition).cloned();
        let owned = found.filter(|vnode| vnode.is_owned());
        owned.ok_or(ReplicaError::NotOwner {
            partition,
            applied: false,
        })
    }

    /// One that is owned.
    pub(super) fn status(&self, partition: PartitionId) -> Option<VnodeStatus> {
        self.get(partition).ok().map(|vnode| status(&vnode))
    }

    /// The vnodes that are owned, by partition.
    pub(super) fn statuses(&self) -> Vec<VnodeStatus> {
        let vnodes = self.by_partition.read();
        let owned = vnodes.values().filter(|vnode| vnode.is_owned());
        let mut statuses: Vec<_> = owned.map(|vnode| status(vnode)).collect();
        statuses.sort_unstable_by_key(|status| status.partition);
        statuses
    }

    /// The records of a clean stop.
    pub(super) fn last_words(&self) -> Batch {
        let mut batch = Batch::new();
        for vnode in self.by_partition.read().values() {
            put_record(
                &mut batch,
                vnode.partition,
                &vnode.clock.lock().clone().close(),
            );
        }
        batch
    }
}

fn status(vnode: &Vnode) -> VnodeStatus {
    let record = vnode.clock.lock().clone().close();
    VnodeStatus {
        partition: vnode.partition,
        incarnation: vnode.incarnation(),
        joined: vnode.joined,
        vnode_id: record.vnode_id,
        min_valid_epoch: record.min_valid_epoch,
        is_serving: vnode.serving().is_ok(),
        is_damaged: vnode.is_damaged(),
        rebuilding: vnode.rebuilding(),
    }
}

/// One fsync for all.
fn lease_all(
    engine: &dyn Engine,
    clocks: &mut [(PartitionId, VnodeClock)],
) -> Result<(), EngineError> {
    let mut batch = Batch::new();
    let mut leases = Vec::with_capacity(clocks.len());
    for (partition, clock) in clocks.iter() {
        let lease = clock.needs_lease();
        if let Some(lease) = &lease {
            put_record(&mut batch, *partition, lease);
        }
        leases.push(lease);
    }
    if !batch.is_empty() {
        engine.write(&batch, Persistence::Synced)?;
    }
    for ((_, clock), lease) in clocks.iter_mut().zip(leases) {
        if let Some(lease) = lease {
            clock.lease_granted(&lease);
        }
        leave_out_rule(clock);
    }
    Ok(())
}

/// For simulations that show that each rule of minting is needed.
#[cfg(feature = "simulation")]
pub(super) fn leave_out_rule(clock: &mut VnodeClock) {
    if let Some(rule) = crate::mistake::rule_left_out() {
        *clock = clock.clone().without(Some(rule));
    }
}

#[cfg(not(feature = "simulation"))]
pub(super) fn leave_out_rule(_: &mut VnodeClock) {}

pub(super) fn put_record(batch: &mut Batch, partition: PartitionId, record: &VnodeRecord) {
    batch.put(Space::Meta, record_key(partition), record.encode());
}

pub(super) fn record_key(partition: PartitionId) -> Bytes {
    [KEY_PREFIX, &partition.0.to_be_bytes()].concat().into()
}

fn decode_record(key: &Bytes, value: &Bytes) -> Result<(PartitionId, VnodeRecord), EngineError> {
    let corrupt = |detail| EngineError::Corruption {
        operation: "read a vnode's record",
        detail,
    };
    let partition = key[KEY_PREFIX.len()..]
        .try_into()
        .map_err(|_| corrupt(format!("key {key:?}")))?;
    let record = VnodeRecord::decode(value).map_err(|error| corrupt(error.to_string()))?;
    Ok((PartitionId(u16::from_be_bytes(partition)), record))
}
