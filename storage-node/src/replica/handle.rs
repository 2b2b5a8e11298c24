//! How everybody else asks the replica: start, operations, stop. Records beside the data are in [`beside`], what
//! vnodes that are rebuilt need is in [`rebuild`].

mod beside;
mod mistaken;
mod rebuild;
mod scrub;
mod tree;

use std::convert::identity;
use std::fmt;
use std::sync::Arc;

use annulus_causality::{HlcClock, KeyState};
use annulus_ring::{PartitionId, RingEpoch};
use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;

use super::address::KeyAddress;
use super::committer::{Committer, GroupLimit, Operation, damaged, decode_read, intact};
use super::error::ReplicaError;
use super::fatal::Fatal;
use super::metrics::ReplicaMetrics;
use super::operation::{DigestPage, Held, KeyDigest, Merge, Merged, Minted, VnodeStatus, Write};
use super::record;
use super::stage::Founding;
use super::stored_tree;
use super::tombstones::TombstoneRule;
use super::vnode::{Vnode, Vnodes};
use super::workers::Workers;
use crate::clock::Clock;
use crate::disk_pace::{DiskMeter, DiskPace};
use crate::entropy::Randomness;
use crate::storage::bounded_queue::{BoundedQueue, NotQueued, QueueLimit};
use crate::storage::free_space::{FreeSpace, Room};
use crate::storage::high_water::HighWater;
use crate::storage::io_pool::{IoPool, IoPoolError, IoPoolOptions};
use crate::storage::key_encoding::DecodedKey;
#[cfg(feature = "simulation")]
use crate::storage::pace::Pace;
use crate::storage::{
    Engine, EngineError, EngineEstimates, Entry, InMemory, ScanLimit, Space, Store, key_encoding,
    recovery,
};

/// One page of digests reads at most this much.
const DIGEST_PAGE: ScanLimit = ScanLimit {
    entries: 1000,
    bytes: 8 * 1024 * 1024,
};

/// How large the replica's parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaOptions {
    /// Threads that write; each has its share of the partitions.
    pub committers: usize,
    /// Operations that may wait for one committer.
    pub queue_operations: usize,
    /// Bytes of operations that may wait for one committer.
    pub queue_bytes: usize,
    /// Operations that one group commit takes at most.
    pub group_operations: usize,
    /// Bytes that one group commit takes at most (a larger operation goes alone).
    pub group_bytes: usize,
    /// Threads for reads that need the disk.
    pub io: IoPoolOptions,
    /// When deleted keys and expired values may go.
    pub tombstones: TombstoneRule,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self {
            committers: 2,
            queue_operations: 8192,
            queue_bytes: 64 * 1024 * 1024,
            group_operations: 1024,
            group_bytes: 256 * 1024,
            io: IoPoolOptions::default(),
            tombstones: TombstoneRule::default(),
        }
    }
}

/// This node's copies. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Replica {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) engine: Arc<dyn Engine>,
    queues: Vec<Arc<BoundedQueue<Operation>>>,
    workers: Workers,
    high_water: Mutex<Option<Arc<HighWater>>>,
    free_space: Option<Arc<FreeSpace>>,
    io: IoPool,
    pub(super) vnodes: Vnodes,
    /// Deleted, and not all of their space given back.
    pub(super) erased: Mutex<Vec<PartitionId>>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    pub(super) tombstones: TombstoneRule,
    pub(super) metrics: ReplicaMetrics,
    meter: DiskMeter,
    pub(super) fatal: Fatal,
    generation: u64,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.shared.generation;
        f.debug_struct("Replica")
            .field("generation", &generation)
            .finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Without a stop this is an unclean end: the next start sees it.
        self.queues.iter().for_each(|queue| queue.close());
    }
}

impl Replica {
    /// Starts over an open store; owns nothing until [`Replica::own`]. Blocks for a log write.
    pub fn start(
        options: &ReplicaOptions,
        store: Store,
        clock: &Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
        registry: &mut Registry,
    ) -> Result<Self, EngineError> {
        Self::start_with(
            Workers::threads(),
            options,
            store,
            clock,
            randomness,
            registry,
        )
    }

    /// As [`Replica::start`], without threads: committers are tasks of the current runtime, at the
    /// pace of a simulated disk.
    #[cfg(feature = "simulation")]
    pub fn start_in_tasks(
        pace: Arc<dyn Pace>,
        options: &ReplicaOptions,
        store: Store,
        clock: &Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
        registry: &mut Registry,
    ) -> Result<Self, EngineError> {
        Self::start_with(
            Workers::tasks(pace),
            options,
            store,
            clock,
            randomness,
            registry,
        )
    }

    fn start_with(
        workers: Workers,
        options: &ReplicaOptions,
        store: Store,
        clock: &Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
        registry: &mut Registry,
    ) -> Result<Self, EngineError> {
        let Store {
            engine,
            recovered,
            high_water,
            free_space,
        } = store;
        let thread_failed = |error: std::io::Error| EngineError::Io {
            operation: "start a storage thread",
            detail: error.to_string(),
        };
        let founding = Founding {
            data_lost: recovered.data_lost,
        };
        let vnodes = Vnodes::load(engine.as_ref(), recovered.clean, founding)?;
        // Notes an empty start; data without trees gets them once the placement is known.
        stored_tree::are_kept(engine.as_ref())?;
        let free_space = free_space.map(Arc::new);
        let (space, time) = (free_space.clone(), clock.clone());
        let metrics = ReplicaMetrics::register(registry, engine.clone(), space, time);
        let limit = QueueLimit {
            items: options.queue_operations,
            bytes: options.queue_bytes,
        };
        let count = options.committers.max(1);
        let shared = Shared {
            queues: (0..count)
                .map(|_| Arc::new(BoundedQueue::new(limit)))
                .collect(),
            high_water: Mutex::new(high_water.map(Arc::new)),
            free_space,
            io: workers.io_pool(options.io).map_err(thread_failed)?,
            workers,
            engine,
            vnodes,
            erased: Mutex::default(),
            clock: clock.clone(),
            randomness,
            tombstones: options.tombstones,
            metrics,
            meter: DiskMeter::new(clock.now()),
            fatal: Fatal::default(),
            generation: recovered.generation,
        };
        for number in 0..count {
            let committer = shared.committer(number, options, clock);
            shared
                .workers
                .run(number, committer)
                .map_err(thread_failed)?;
        }
        tracing::info!(
            generation = recovered.generation,
            clean = recovered.clean,
            "replica started"
        );
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Makes this node the owner of exactly these partitions from `epoch` on, and fences off
    /// older epochs. The records of new vnodes are on disk when this returns.
    pub async fn own(
        &self,
        partitions: Vec<PartitionId>,
        epoch: RingEpoch,
    ) -> Result<(), ReplicaError> {
        let held = partitions.into_iter();
        let held = held.map(|partition| Held::since(partition, epoch));
        self.hold(held.collect(), epoch).await
    }

    /// Makes this node the holder of exactly these partitions, as the placement of that epoch says, and raises their
    /// fences. The records of new vnodes are on disk when this returns; those of joining owners begin empty.
    pub async fn hold(&self, held: Vec<Held>, epoch: RingEpoch) -> Result<(), ReplicaError> {
        for leftover in self.shared.vnodes.release_leftovers(&held) {
            self.erase(leftover).await?;
        }
        let shared = self.shared.clone();
        let owned = self.on_disk(move || {
            let (engine, randomness) = (shared.engine.as_ref(), shared.randomness.as_ref());
            let now_ms = shared.clock.wall_ms();
            let vnodes = &shared.vnodes;
            let owned = vnodes.hold(engine, randomness, &held, epoch, now_ms);
            owned.inspect_err(|error| shared.fatal.raise_for(error))
        });
        Ok(owned.await??)
    }

    /// Gives a client's write its dot and applies it. The answer comes before it is durable:
    /// send the state to the other owners, then wait for [`Minted::durable`].
    ///
    /// Dropping the future before the operation's turn takes it back; later it is applied.
    pub async fn mint(&self, write: Write) -> Result<Minted, ReplicaError> {
        let partition = write.address.partition();
        let minted = async {
            let vnode = self.shared.vnodes.get(partition)?;
            vnode.check_fence(write.fence, false)?;
            vnode.serving()?;
            self.warm(&write.address).await?;
            let mint = |reply| Operation::Mint {
                write,
                vnode,
                reply,
            };
            self.in_turn(partition, mint).await
        };
        let minted = minted.await;
        self.shared.metrics.count("mint", &minted);
        minted
    }

    /// Merges what another replica knows. Answered when it is as durable as the keyspace asks.
    pub async fn merge(&self, merge: Merge) -> Result<Merged, ReplicaError> {
        let partition = merge.address.partition();
        let merged = async {
            let vnode = self.shared.vnodes.get(partition)?;
            vnode.check_fence(merge.fence, false)?;
            self.warm(&merge.address).await?;
            let merge = |reply| Operation::Merge {
                merge,
                vnode,
                reply,
            };
            self.in_turn(partition, merge).await
        };
        let merged = merged.await;
        self.shared.metrics.count("merge", &merged);
        merged
    }

    /// Whether so much waits for the committers that work of lower rank should wait.
    pub(crate) fn is_busy(&self) -> bool {
        self.shared.queues.iter().any(|queue| queue.is_half_full())
    }

    /// A key's state; `None` if this vnode has never heard of the key.
    pub async fn read(&self, address: &KeyAddress) -> Result<Option<KeyState>, ReplicaError> {
        let state = self.load(address).await;
        self.shared.metrics.count("read", &state);
        state
    }

    /// The digest of a key's state; `None` if this vnode has never heard of the key.
    pub async fn digest(&self, address: &KeyAddress) -> Result<Option<u64>, ReplicaError> {
        let state = self.load(address).await;
        self.shared.metrics.count("digest", &state);
        Ok(state?.map(|state| state.digest()))
    }

    /// The digests of a vnode's keys, part by part: begin with `None`, go on with
    /// [`DigestPage::next`].
    pub async fn digests(
        &self,
        partition: PartitionId,
        after: Option<Bytes>,
    ) -> Result<DigestPage, ReplicaError> {
        let vnode = self.shared.vnodes.get(partition)?;
        let since = vnode.readable()?;
        let found = self.scan(&vnode, after, DIGEST_PAGE, identity).await?;
        let digests = found.iter().map(|entry| self.key_digest(&vnode, entry));
        let digests = digests.collect::<Result<_, _>>()?;
        vnode.still_readable(since)?;
        Ok(DigestPage {
            digests,
            next: found.last().map(|entry| entry.key.clone()),
        })
    }

    /// The vnodes that this node owns, by partition.
    pub fn vnodes(&self) -> Vec<VnodeStatus> {
        self.shared.vnodes.statuses()
    }

    /// How much room there is on the disk.
    pub fn room(&self) -> Room {
        let now = self.shared.clock.now();
        let space = self.shared.free_space.as_ref();
        space.map_or(Room::Plenty, |space| space.room(now))
    }

    /// Whether work in the background may grow the data.
    pub fn has_room_for_background(&self) -> bool {
        self.room() < Room::NoBackground
    }

    /// What the disk takes at present.
    pub(crate) fn disk_pace(&self, now: tokio::time::Instant) -> DiskPace {
        self.shared.meter.pace(now)
    }

    /// The engine's figures.
    pub fn estimates(&self) -> EngineEstimates {
        self.shared.engine.estimates()
    }

    /// How often the data was opened: the restart count.
    pub fn generation(&self) -> u64 {
        self.shared.generation
    }

    /// Resolves, with the reason, when the disk can't be trusted any more: the process must then
    /// exit at once with an error.
    pub async fn fatal(&self) -> String {
        self.shared.fatal.wait().await
    }

    /// Stops cleanly: applies what is queued, writes everything out, and records a clean end.
    /// Everything that is asked afterwards is refused.
    pub async fn stop(&self) -> Result<(), ReplicaError> {
        let shared = self.shared.clone();
        shared.queues.iter().for_each(|queue| queue.close());
        shared.workers.tasks_ended().await;
        if !shared.workers.may_block() {
            return shared.stop();
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "joining threads blocks; simulations have none"
        )]
        let stopped = tokio::task::spawn_blocking(move || shared.stop()).await;
        stopped.unwrap_or(Err(ReplicaError::Stopped { applied: true }))
    }

    async fn load(&self, address: &KeyAddress) -> Result<Option<KeyState>, ReplicaError> {
        let vnode = self.shared.vnodes.get(address.partition())?;
        let since = vnode.readable()?;
        let engine = &self.shared.engine;
        let read = match engine.get_in_memory(Space::Data, address.stored()) {
            Ok(InMemory::Known(found)) => Ok(found),
            Ok(InMemory::NeedsDisk) => self.read_from_disk(address).await?,
            Err(error) => Err(error),
        };
        let state = decode_read(&vnode, address.stored(), read, &self.shared.metrics)?;
        vnode.still_readable(since)?;
        Ok(state)
    }

    /// Entries of a vnode, from after a key on, as `look` makes of them where the disk is read.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        vnode: &Vnode,
        after: Option<Bytes>,
        limit: ScanLimit,
        look: impl FnOnce(Vec<Entry>) -> T + Send + 'static,
    ) -> Result<T, ReplicaError> {
        let range = key_encoding::partition_range(vnode.partition());
        let range = after.map_or(range.clone(), |after| range.after(&after));
        let engine = self.shared.engine.clone();
        let found = self
            .on_disk(move || engine.scan(Space::Data, &range, limit).map(look))
            .await?;
        self.intact(vnode, found)
    }

    /// What the engine returned for a vnode; damage is counted, reported and noted.
    fn intact<T>(&self, vnode: &Vnode, read: Result<T, EngineError>) -> Result<T, ReplicaError> {
        intact(vnode, read, &self.shared.metrics)
    }

    fn damaged(&self, vnode: &Vnode, detail: String) -> ReplicaError {
        damaged(vnode, detail, &self.shared.metrics)
    }

    fn key_of(&self, vnode: &Vnode, entry: &Entry) -> Result<DecodedKey, ReplicaError> {
        let key = key_encoding::decode(&entry.key);
        key.ok_or_else(|| self.damaged(vnode, format!("{:?} is no key", entry.key)))
    }

    fn key_digest(&self, vnode: &Vnode, entry: &Entry) -> Result<KeyDigest, ReplicaError> {
        let key = self.key_of(vnode, entry)?;
        let state = record::decode(&entry.key, &entry.value);
        let state = state.map_err(|detail| self.damaged(vnode, detail))?;
        Ok(KeyDigest {
            keyspace: key.keyspace,
            key: key.key,
            digest: state.digest(),
        })
    }

    /// Has an operation done in the partition's turn; what it answers.
    pub(super) async fn in_turn<T>(
        &self,
        partition: PartitionId,
        operation: impl FnOnce(oneshot::Sender<Result<T, ReplicaError>>) -> Operation,
    ) -> Result<T, ReplicaError> {
        let (reply, answer) = oneshot::channel();
        self.shared.enqueue(partition, operation(reply))?;
        answer
            .await
            .unwrap_or(Err(ReplicaError::Stopped { applied: true }))
    }

    /// Brings a key's record into memory, so that the committer, which all others of its
    /// partitions wait for, need not go to the disk for it.
    pub(super) async fn warm(&self, address: &KeyAddress) -> Result<(), ReplicaError> {
        let engine = &self.shared.engine;
        if let Ok(InMemory::NeedsDisk) = engine.get_in_memory(Space::Data, address.stored()) {
            // The committer reads it again: what fails here fails there, and is reported there.
            let _ = self.read_from_disk(address).await?;
        }
        Ok(())
    }

    async fn read_from_disk(
        &self,
        address: &KeyAddress,
    ) -> Result<Result<Option<Bytes>, EngineError>, ReplicaError> {
        let shared = self.shared.clone();
        shared.metrics.disk_reads.inc();
        let stored = address.stored().clone();
        self.on_disk(move || {
            let begun = shared.clock.now();
            let found = shared.engine.get(Space::Data, &stored);
            let now = shared.clock.now();
            let took = now.saturating_duration_since(begun);
            shared.meter.read(now, took);
            found
        })
        .await
    }

    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ReplicaError> {
        self.shared.io.run(work).await.map_err(|error| match error {
            IoPoolError::Full => ReplicaError::Overloaded { what: "reads" },
            IoPoolError::Stopped => ReplicaError::Stopped { applied: false },
        })
    }
}

impl Shared {
    fn committer(
        &self,
        number: usize,
        options: &ReplicaOptions,
        clock: &Arc<dyn Clock>,
    ) -> Committer {
        Committer {
            queue: self.queues[number].clone(),
            engine: self.engine.clone(),
            high_water: self.high_water.lock().clone(),
            free_space: self.free_space.clone(),
            clock: clock.clone(),
            hlc: HlcClock::new(),
            limit: GroupLimit {
                operations: options.group_operations,
                bytes: options.group_bytes,
            },
            tombstones: self.tombstones,
            metrics: self.metrics.clone(),
            meter: self.meter.clone(),
            fatal: self.fatal.clone(),
        }
    }

    pub(super) fn committers(&self) -> usize {
        self.queues.len()
    }

    pub(super) fn enqueue(
        &self,
        partition: PartitionId,
        operation: Operation,
    ) -> Result<(), ReplicaError> {
        let queue = &self.queues[usize::from(partition.0) % self.queues.len()];
        let bytes = operation.bytes();
        let pushed = queue.try_push(operation, bytes);
        self.metrics
            .queued_operations
            .set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
        pushed.map_err(|not_queued| match not_queued {
            NotQueued::Full(_) => ReplicaError::Overloaded { what: "writes" },
            NotQueued::Closed(_) => ReplicaError::Stopped { applied: false },
        })
    }

    /// Once the queues are closed. Blocks.
    fn stop(&self) -> Result<(), ReplicaError> {
        if !self.workers.join() {
            return Err(ReplicaError::Stopped { applied: true });
        }
        self.io.stop();
        if self.fatal.is_raised() {
            return Err(ReplicaError::Stopped { applied: true });
        }
        // The last mark is written before the clean end is.
        drop(self.high_water.lock().take());
        self.engine.flush()?;
        recovery::end(
            self.engine.as_ref(),
            self.generation,
            self.vnodes.last_words(),
        )?;
        Ok(())
    }
}
