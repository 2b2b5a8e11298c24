//! A node's disk: what was written, what of that is on the platter, and what a crash leaves.
//!
//! - A batch that was synced, and everything before it, survives a crash.
//! - Of what was written later, and of what was just being written, a crash leaves some first part:
//!   whole batches, because the log's checksums drop a torn one.
//! - After a failed sync the data can be read back, and is not on the platter; a later sync does
//!   not bring it there (as Linux file systems do).
//! - A damaged record stays damaged.
//!
//! A process that has died can't reach its disk any more, whatever of it still runs.

mod erasures;
mod faults;
mod pace;
mod trees;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use annulus_causality::{Content, KeyState};
use annulus_ring::NodeId;
use bytes::Bytes;
use parking_lot::Mutex;

use super::chance::Chance;
use super::observer::{HintRemoved, Observer, Removed, Wrote};
use super::trace::Trace;
use crate::hints::{Hint, hint_target};
use crate::replica::decode_record;
use crate::storage::free_space::FreeSpace;
use crate::storage::key_encoding;
use crate::storage::{
    Batch, Change, Engine, EngineError, EngineEstimates, Entry, InMemory, KeyRange, MemoryEngine,
    Persistence, ScanLimit, Space,
};
use crate::watched::Watched;

/// How often memory doesn't have a record, in a thousand lookups.
const COLD_PER_MILLE: u64 = 50;

/// How often a crash leaves all that was written; otherwise some first part.
const ALL_LEFT_PER_MILLE: u64 = 300;

/// A disk. Clones are one.
#[derive(Clone)]
pub struct SimDisk(Arc<Inner>);

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimDisk({})", self.0.node)
    }
}

struct Inner {
    node: NodeId,
    medium: Mutex<Medium>,
    chance: Chance,
    stalled: Watched<bool>,
    observer: Arc<dyn Observer>,
    /// Where writes are noted, and the node's name there.
    trace: OnceLock<(Arc<Trace>, String)>,
}

#[derive(Default)]
struct Medium {
    /// What a reader sees.
    live: MemoryEngine,
    /// What is on the platter.
    durable: MemoryEngine,
    unsynced: Vec<Batch>,
    being_written: Vec<Batch>,
    /// Which run of the node has the disk.
    run: u64,
    sync_takes: SyncTakes,
    failing_syncs: bool,
    used_percent: u64,
    forgetful: bool,
    last_synced: Option<(MemoryEngine, usize)>,
    /// Keys whose records were damaged; some may have been written again.
    damaged: BTreeSet<Bytes>,
    /// The last run in which a sync failed.
    failed_run: Option<u64>,
    /// Records that were decoded last, by key, as seen and as synced.
    seen_states: Decoded,
    synced_states: Decoded,
}

/// States by stored key, each with the record that it was decoded from.
#[derive(Default)]
struct Decoded(HashMap<Bytes, (Bytes, Arc<KeyState>)>);

impl Decoded {
    fn get(&mut self, key: &Bytes, record: &Bytes) -> Result<Arc<KeyState>, String> {
        if let Some((known, state)) = self.0.get(key)
            && known == record
        {
            return Ok(state.clone());
        }
        let state = Arc::new(decode_record(key, record)?);
        self.put(key, record, &state);
        Ok(state)
    }

    fn put(&mut self, key: &Bytes, record: &Bytes, state: &Arc<KeyState>) {
        self.0.insert(key.clone(), (record.clone(), state.clone()));
    }
}

/// How long a sync takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyncTakes {
    /// One to three milliseconds.
    #[default]
    Usual,
    /// Up to so many milliseconds.
    UpTo(u64),
}

impl SimDisk {
    /// An empty disk.
    pub fn new(node: NodeId, chance: Chance, observer: Arc<dyn Observer>) -> Self {
        Self(Arc::new(Inner {
            node,
            medium: Mutex::default(),
            chance,
            stalled: Watched::new(false),
            observer,
            trace: OnceLock::new(),
        }))
    }

    /// What is written is noted there under that name.
    pub fn write_into(&self, trace: Arc<Trace>, name: &str) {
        let first = self.0.trace.set((trace, name.to_owned()));
        first.expect("a disk has one node");
    }

    /// Opens it for the next run of the node.
    pub fn open(&self) -> SimEngine {
        let mut medium = self.0.medium.lock();
        medium.run += 1;
        SimEngine {
            disk: self.clone(),
            run: medium.run,
        }
    }

    /// Ends the run that has the disk, as a crash does.
    pub fn crash(&self) {
        let mut medium = self.0.medium.lock();
        medium.run += 1;
        let mut pending = std::mem::take(&mut medium.unsynced);
        pending.append(&mut medium.being_written);
        let left = if self.0.chance.hits(ALL_LEFT_PER_MILLE) {
            pending.len()
        } else {
            self.0.chance.index(pending.len() + 1)
        };
        for batch in &pending[..left] {
            apply(&medium.durable, batch);
        }
        if medium.forgetful
            && let Some((before, _)) = medium.last_synced.take()
        {
            medium.durable = before;
        }
        medium.live = medium.durable.copy();
        medium.failing_syncs = false;
    }

    /// Replaces it by an empty one.
    pub fn wipe(&self) {
        let mut medium = self.0.medium.lock();
        let run = medium.run + 1;
        *medium = Medium {
            run,
            forgetful: medium.forgetful,
            ..Medium::default()
        };
    }

    /// Whether the running node finds a damaged record under that key.
    pub(super) fn is_damaged(&self, keyspace: &str, key: &[u8]) -> bool {
        let medium = self.0.medium.lock();
        let is_meant = |stored: &&Bytes| {
            key_encoding::decode(stored).is_some_and(|stored| {
                stored.keyspace.as_str() == keyspace && stored.key.as_bytes() == key
            })
        };
        medium.damaged.iter().filter(is_meant).any(|stored| {
            let record = medium.live.get(Space::Data, stored);
            let record = record.expect("memory does not fail");
            record.is_some_and(|record| decode_record(stored, &record).is_err())
        })
    }

    /// Whether any client's record on the platter is damaged.
    pub fn has_damage(&self) -> bool {
        let medium = self.0.medium.lock();
        let is_damaged = |stored: &Bytes| {
            let record = medium.durable.get(Space::Data, stored);
            let record = record.expect("memory does not fail");
            record.is_some_and(|record| decode_record(stored, &record).is_err())
        };
        medium.damaged.iter().any(is_damaged)
    }

    /// Whether a sync has failed in the present run.
    pub(super) fn has_failed(&self) -> bool {
        let medium = self.0.medium.lock();
        medium.failed_run == Some(medium.run)
    }

    /// What a crash now would surely leave of a key.
    ///
    /// # Errors
    /// When its record is damaged.
    pub fn durable_state(&self, stored_key: &[u8]) -> Result<Option<Arc<KeyState>>, String> {
        let medium = &mut *self.0.medium.lock();
        let record = medium.durable.get(Space::Data, stored_key);
        let record = record.expect("memory does not fail");
        let key = Bytes::copy_from_slice(stored_key);
        let state = record.map(|record| medium.synced_states.get(&key, &record));
        state.transpose()
    }

    /// What the disk holds of a key, for people: as the node reads it, and what of it a crash leaves.
    pub fn describe(&self, stored_key: &[u8]) -> String {
        let medium = self.0.medium.lock();
        let text = |engine: &MemoryEngine| {
            let record = engine.get(Space::Data, stored_key);
            match record.expect("memory does not fail") {
                None => "nothing".to_owned(),
                Some(record) => decode_record(stored_key, &record)
                    .map_or_else(|error| error, |state| text_of(&state)),
            }
        };
        let (live, durable) = (text(&medium.live), text(&medium.durable));
        if live == durable {
            format!("{durable}, synced")
        } else {
            format!("{live}; synced is {durable}")
        }
    }

    /// What the node finds of a key.
    ///
    /// # Errors
    /// When its record is damaged.
    pub fn live_state(&self, stored_key: &[u8]) -> Result<Option<KeyState>, String> {
        let medium = self.0.medium.lock();
        let record = medium.live.get(Space::Data, stored_key);
        let record = record.expect("memory does not fail");
        let state = record.map(|record| decode_record(stored_key, &record));
        state.transpose()
    }

    /// For whom a crash now would surely leave a hint of a key, and what.
    pub fn durable_hints(&self, stored_key: &[u8]) -> Vec<(NodeId, KeyState)> {
        let medium = self.0.medium.lock();
        let all = ScanLimit {
            entries: usize::MAX,
            bytes: usize::MAX,
        };
        let found = medium
            .durable
            .scan(Space::Hints, &KeyRange::default(), all)
            .expect("memory does not fail");
        let of_key = found.into_iter().filter_map(|entry| {
            let (target, stored) = hint_target(&entry.key)?;
            let hint = Hint::decode(&entry.key, &entry.value).ok()?;
            (stored == stored_key).then_some((target, hint.state))
        });
        of_key.collect()
    }

    pub(crate) fn free_space(&self) -> FreeSpace {
        let disk = self.clone();
        FreeSpace::probed(move || Some(100 - disk.0.medium.lock().used_percent))
    }
}

/// One run's way to the disk.
pub struct SimEngine {
    disk: SimDisk,
    run: u64,
}

impl SimEngine {
    fn with<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Medium) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let mut medium = self.disk.0.medium.lock();
        if medium.run != self.run {
            let detail = "the process has died".to_owned();
            return Err(EngineError::Io { operation, detail });
        }
        work(&mut medium)
    }

    fn report_removal(&self, stored_key: &[u8], before: Option<&KeyState>) {
        if let Some(before) = before {
            if let Some((trace, name)) = self.disk.0.trace.get() {
                let raw = [self.disk.0.node.0.as_bytes(), stored_key].concat();
                trace.note_raw(&raw, || {
                    let key = name_of(&Bytes::copy_from_slice(stored_key));
                    format!("   {name} removes {key} = {}", text_of(before))
                });
            }
            self.disk.0.observer.removed(&Removed {
                node: self.disk.0.node,
                stored_key,
                before,
            });
        }
    }

    fn report(&self, medium: &mut Medium, batch: &Batch) {
        // What the batch has made of a key so far.
        let mut changed: BTreeMap<&Bytes, Option<Bytes>> = BTreeMap::new();
        for change in batch.changes() {
            if let Change::Delete(Space::Hints, key) = change {
                self.report_hint_removal(medium, key);
            }
            if let Change::DeleteRange(Space::Data, from, to) = change {
                self.report_erasure(medium, batch, (from, to));
            }
            let (Change::Put(Space::Data, key, _) | Change::Delete(Space::Data, key)) = change
            else {
                continue;
            };
            let before = changed.remove(key).unwrap_or_else(|| {
                let stored = medium.live.get(Space::Data, key);
                stored.expect("memory does not fail")
            });
            let before = before.and_then(|record| medium.seen_states.get(key, &record).ok());
            let Change::Put(_, _, value) = change else {
                changed.insert(key, None);
                self.report_removal(key, before.as_deref());
                continue;
            };
            changed.insert(key, Some(value.clone()));
            // Other suites write bytes that are no records.
            let Ok(after) = medium.seen_states.get(key, value) else {
                continue;
            };
            if let Some((trace, name)) = self.disk.0.trace.get() {
                let raw = [self.disk.0.node.0.as_bytes(), &key[..], &value[..]].concat();
                trace.note_raw(&raw, || {
                    format!("   {name} writes {} = {}", name_of(key), text_of(&after))
                });
            }
            self.disk.0.observer.wrote(&Wrote {
                node: self.disk.0.node,
                stored_key: key,
                before: before.as_deref(),
                after: &after,
            });
        }
    }
}

impl SimEngine {
    fn report_hint_removal(&self, medium: &Medium, key: &Bytes) {
        let before = medium.live.get(Space::Hints, key);
        let before = before.expect("memory does not fail");
        let hint = before.and_then(|record| Hint::decode(key, &record).ok());
        if let (Some((target, stored_key)), Some(hint)) = (hint_target(key), hint) {
            self.disk.0.observer.hint_removed(&HintRemoved {
                node: self.disk.0.node,
                target,
                stored_key,
                written_ms: hint.written.ms(),
                sloppy: hint.sloppy,
                state: &hint.state,
            });
        }
    }
}

impl Engine for SimEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.with("read a key", |medium| medium.live.get(space, key))
    }

    fn get_in_memory(&self, space: Space, key: &[u8]) -> Result<InMemory, EngineError> {
        if self.disk.0.chance.hits(COLD_PER_MILLE) {
            return Ok(InMemory::NeedsDisk);
        }
        self.get(space, key).map(InMemory::Known)
    }

    fn write(&self, batch: &Batch, persistence: Persistence) -> Result<(), EngineError> {
        self.with("write a batch", |medium| {
            let same = |written: &Batch| written.changes() == batch.changes();
            if let Some(at) = medium.being_written.iter().position(same) {
                medium.being_written.remove(at);
            }
            self.report(medium, batch);
            apply(&medium.live, batch);
            if persistence == Persistence::Buffered {
                medium.unsynced.push(batch.clone());
                return Ok(());
            }
            if medium.failing_syncs {
                medium.unsynced.clear();
                medium.failed_run = Some(medium.run);
                let detail = "fsync failed".to_owned();
                let operation = "sync the log";
                return Err(EngineError::Io { operation, detail });
            }
            if medium.forgetful {
                let before = match medium.last_synced.take() {
                    Some((before, age)) if age < 3 => (before, age + 1),
                    _ => (medium.durable.copy(), 0),
                };
                medium.last_synced = Some(before);
            }
            for earlier in std::mem::take(&mut medium.unsynced) {
                apply(&medium.durable, &earlier);
            }
            apply(&medium.durable, batch);
            Ok(())
        })
    }

    fn scan(
        &self,
        space: Space,
        range: &KeyRange,
        limit: ScanLimit,
    ) -> Result<Vec<Entry>, EngineError> {
        self.with("scan", |medium| medium.live.scan(space, range, limit))
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.with("flush", |medium| {
            for batch in std::mem::take(&mut medium.unsynced) {
                apply(&medium.durable, &batch);
            }
            Ok(())
        })
    }

    fn sequence(&self) -> u64 {
        self.disk.0.medium.lock().live.sequence()
    }

    fn estimates(&self) -> EngineEstimates {
        self.disk.0.medium.lock().live.estimates()
    }
}

/// The clients' records that are on the platter.
fn records(medium: &Medium) -> Vec<Entry> {
    let all = ScanLimit {
        entries: usize::MAX,
        bytes: usize::MAX,
    };
    let found = medium.durable.scan(Space::Data, &KeyRange::default(), all);
    found.expect("memory does not fail")
}

/// A stored key, for people.
fn name_of(stored_key: &Bytes) -> String {
    match key_encoding::decode(stored_key) {
        Some(key) => format!("{}/{}", key.keyspace, key.key),
        None => format!("{stored_key:?}"),
    }
}

/// A state, for people: its siblings, and how much it knows.
fn text_of(state: &KeyState) -> String {
    let siblings = state.siblings().iter().map(|sibling| {
        let value = match &sibling.content {
            Content::Value(value) => String::from_utf8_lossy(value).into_owned(),
            Content::Tombstone => "deleted".to_owned(),
        };
        format!("{value} ({})", sibling.dot)
    });
    let siblings: Vec<_> = siblings.collect();
    let clock = state.clock().iter();
    let clock: Vec<_> = clock.map(|(actor, counter)| actor.dot(counter)).collect();
    let last = clock.iter().map(ToString::to_string).collect::<Vec<_>>();
    format!("[{}] knowing {}", siblings.join(", "), last.join(" "))
}

fn apply(engine: &MemoryEngine, batch: &Batch) {
    engine
        .write(batch, Persistence::Synced)
        .expect("memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::super::observer::Unobserved;
    use super::*;
    use crate::storage::conformance;

    fn disk(seed: u64) -> SimDisk {
        let node = NodeId(uuid::Uuid::from_u128(1));
        SimDisk::new(node, Chance::new(seed, "disk"), Arc::new(Unobserved))
    }

    fn put(engine: &SimEngine, key: &str, persistence: Persistence) {
        let mut batch = Batch::new();
        batch.put(Space::Data, key.to_owned(), &b"value"[..]);
        engine.write(&batch, persistence).unwrap();
    }

    fn holds(engine: &SimEngine, key: &str) -> bool {
        engine.get(Space::Data, key.as_bytes()).unwrap().is_some()
    }

    #[test]
    fn the_simulated_disk_keeps_the_promises_of_an_engine() {
        conformance::run(|| disk(1).open());
    }

    #[test]
    fn a_crash_leaves_what_was_synced_and_a_first_part_of_the_rest() {
        let mut lost = 0;
        for seed in 0..100 {
            let disk = disk(seed);
            let engine = disk.open();
            put(&engine, "a", Persistence::Buffered);
            put(&engine, "b", Persistence::Synced);
            put(&engine, "c", Persistence::Buffered);
            put(&engine, "d", Persistence::Buffered);
            disk.crash();
            assert!(engine.get(Space::Data, b"a").is_err(), "that run is over");
            let engine = disk.open();
            assert!(holds(&engine, "a") && holds(&engine, "b"), "seed {seed}");
            assert!(holds(&engine, "c") || !holds(&engine, "d"), "seed {seed}");
            lost += u32::from(!holds(&engine, "d"));
        }
        assert!((20..90).contains(&lost), "{lost} of 100 lost something");
    }

    #[test]
    fn what_a_failed_sync_covered_is_seen_and_not_on_the_platter() {
        let disk = disk(3);
        let engine = disk.open();
        disk.set_syncs_fail(true);
        let mut batch = Batch::new();
        batch.put(Space::Data, &b"a"[..], &b"value"[..]);
        assert!(engine.write(&batch, Persistence::Synced).is_err());
        assert!(holds(&engine, "a"));
        disk.crash();
        assert!(!holds(&disk.open(), "a"));
    }
}
