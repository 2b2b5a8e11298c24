//! Changes of a vnode's stage: it gives up its data, is filled, serves again. Made by the partition's
//! committer, so that no write of a client falls between.
//!
//! On disk: a record beside the vnode's own, as long as the vnode is not whole. A vnode gives up its data in one
//! synced batch with its hash tree, its new id and that record; so no crash leaves part of the old data under a vnode that
//! serves, and what is merged after it stays. A vnode that was made for a move has the move's name beside it as long as
//! it exists: one that was made for another move, or for none, is not what that move has filled.

use std::collections::BTreeMap;

use annulus_causality::{VnodeClock, VnodeId};
use annulus_ring::{MoveId, PartitionId, RingEpoch};
use bytes::Bytes;

use super::rebuilding::{Origin, Rebuilding};
use super::vnode::{Vnode, leave_out_rule, put_record, record_key};
use crate::hash_tree::tree_range;
use crate::mistake::{self, Mistake};
use crate::storage::{
    Batch, Engine, EngineError, KeyRange, Persistence, ScanLimit, Space, SumBlock, key_encoding,
};

const KEY_PREFIX: &[u8] = b"rebuild/";

const JOINED_PREFIX: &[u8] = b"joined/";

/// As many as there are vnodes.
const ALL_RECORDS: ScanLimit = ScanLimit {
    entries: 1 << 16,
    bytes: usize::MAX,
};

/// What is to become of a vnode.
#[derive(Debug)]
pub(super) enum StageChange {
    /// It gives up its data and begins again, empty, under this id.
    GiveUp {
        vnode_id: VnodeId,
        rebuilding: Rebuilding,
    },
    /// It was filled so far, and what it was filled with is in the log.
    Fill(Rebuilding),
    /// It is whole and serves.
    Serve,
}

/// What a vnode that is made now has to be filled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Founding {
    /// The database was made after an earlier one of the same node was lost.
    pub(super) data_lost: bool,
}

impl Founding {
    /// Why a vnode that is made at that epoch has to be filled; `None`: there is nothing that it could lack,
    /// for the ring begins. `joins`: it is made for a move.
    pub(super) fn origin(self, epoch: RingEpoch, joins: bool) -> Option<Origin> {
        if self.data_lost {
            Some(Origin::Lost)
        } else if joins {
            Some(Origin::Joining)
        } else {
            (epoch > RingEpoch::FIRST).then_some(Origin::New)
        }
    }
}

/// A vnode that is being made.
#[derive(Debug, Clone)]
pub(super) struct Newcomer {
    pub(super) partition: PartitionId,
    /// What it has to be filled for; `None`: it is whole.
    pub(super) rebuilding: Option<Rebuilding>,
    /// The move that it is made for.
    pub(super) joined: Option<MoveId>,
}

/// Keeps what the vnodes are made for; on disk when this returns. Before the vnodes' own records: one without the
/// other must not pass for whole.
pub(super) fn found(engine: &dyn Engine, made: &[Newcomer]) -> Result<(), EngineError> {
    let mut batch = Batch::new();
    for newcomer in made {
        let partition = newcomer.partition;
        if let Some(rebuilding) = &newcomer.rebuilding {
            put(&mut batch, partition, rebuilding);
        }
        if let Some(joined) = newcomer.joined {
            let (key, id) = (joined_key(partition), joined.to_string());
            batch.put(Space::Meta, key, id.into_bytes());
        }
    }
    if batch.is_empty() {
        return Ok(());
    }
    engine.write(&batch, Persistence::Synced)
}

/// Deletes a vnode with all that it has; on disk, and the files gone that held nothing else, when this returns.
/// Nothing may be on its way to it any more. After an error the node must stop, as after any failed log write.
pub(super) fn erase(engine: &dyn Engine, partition: PartitionId) -> Result<(), EngineError> {
    let range = key_encoding::partition_range(partition);
    let mut emptied = Batch::new();
    delete_range(&mut emptied, Space::Data, &range);
    delete_range(&mut emptied, Space::Tree, &tree_range(partition));
    let mut batch = emptied.clone();
    batch.delete(Space::Meta, record_key(partition));
    batch.delete(Space::Meta, key_of(partition));
    batch.delete(Space::Meta, joined_key(partition));
    engine.write(&batch, Persistence::Synced)?;
    for (space, range) in [(Space::Data, range), (Space::Tree, tree_range(partition))] {
        let freed = engine.drop_files(space, &range);
        if let Err(error) = freed {
            tracing::warn!(%partition, %error, "files of a deleted vnode stay");
        }
    }
    engine.write(&emptied, Persistence::Synced)
}

/// Makes a change; on disk, and in effect, when this returns. Called by the partition's committer alone. After an
/// error the node must stop, as after any failed log write.
pub(super) fn make(
    engine: &dyn Engine,
    vnode: &Vnode,
    change: StageChange,
) -> Result<(), EngineError> {
    let partition = vnode.partition();
    match change {
        StageChange::GiveUp {
            vnode_id,
            rebuilding,
        } => give_up(engine, vnode, vnode_id, rebuilding),
        StageChange::Fill(rebuilding) => {
            let mut batch = Batch::new();
            put(&mut batch, partition, &rebuilding);
            engine.write(&batch, Persistence::Synced)?;
            vnode.filled(Some(rebuilding));
            Ok(())
        }
        StageChange::Serve => {
            let mut batch = Batch::new();
            batch.delete(Space::Meta, key_of(partition));
            engine.write(&batch, Persistence::Synced)?;
            vnode.filled(None);
            tracing::info!(%partition, "vnode is whole and serves");
            Ok(())
        }
    }
}

fn give_up(
    engine: &dyn Engine,
    vnode: &Vnode,
    vnode_id: VnodeId,
    rebuilding: Rebuilding,
) -> Result<(), EngineError> {
    let partition = vnode.partition();
    // Before anything is gone: whoever reads now looks at this again afterwards.
    vnode.suspend();
    let vnode_id = if mistake::is_made(Mistake::RebuiltUnderOldId) {
        vnode.vnode_id()
    } else {
        vnode_id
    };
    let mut clock = VnodeClock::create(vnode_id);
    let lease = clock.needs_lease().expect("a new vnode has no lease yet");
    let range = key_encoding::partition_range(partition);
    let mut emptied = Batch::new();
    delete_range(&mut emptied, Space::Data, &range);
    delete_range(&mut emptied, Space::Tree, &tree_range(partition));
    let mut batch = emptied.clone();
    put_record(&mut batch, partition, &lease);
    put(&mut batch, partition, &rebuilding);
    engine.write(&batch, Persistence::Synced)?;
    clock.lease_granted(&lease);
    leave_out_rule(&mut clock);
    vnode.set_root(SumBlock::default());
    vnode.begin_again(clock, rebuilding);
    // The damage itself goes with the files; otherwise a later compaction meets it.
    if let Err(error) = engine.drop_files(Space::Data, &range) {
        tracing::warn!(%partition, %error, "files of a damaged vnode stay");
    }
    engine.write(&emptied, Persistence::Synced)?;
    tracing::warn!(%partition, %vnode_id, "vnode gave up its damaged data and is rebuilt");
    Ok(())
}

fn delete_range(batch: &mut Batch, space: Space, range: &KeyRange) {
    let end = range.end.clone().expect("no partition is the last prefix");
    batch.delete_range(space, range.start.clone(), end);
}

/// The moves that vnodes were made for.
pub(super) fn load_joined(
    engine: &dyn Engine,
) -> Result<BTreeMap<PartitionId, MoveId>, EngineError> {
    let range = KeyRange::with_prefix(JOINED_PREFIX);
    let found = engine.scan(Space::Meta, &range, ALL_RECORDS)?;
    let decoded = found.iter().map(|entry| {
        let id = std::str::from_utf8(&entry.value).ok();
        let id: Option<MoveId> = id.and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| EngineError::Corruption {
            operation: "read the move that a vnode was made for",
            detail: format!("{:?}", entry.value),
        })?;
        Ok((id.partition, id))
    });
    decoded.collect()
}

/// How far each vnode that is not whole is filled.
pub(super) fn load(engine: &dyn Engine) -> Result<BTreeMap<PartitionId, Rebuilding>, EngineError> {
    let range = KeyRange::with_prefix(KEY_PREFIX);
    let found = engine.scan(Space::Meta, &range, ALL_RECORDS)?;
    found
        .iter()
        .map(|entry| decode(&entry.key, &entry.value))
        .collect()
}

fn put(batch: &mut Batch, partition: PartitionId, rebuilding: &Rebuilding) {
    let text = serde_json::to_vec(rebuilding).expect("plain fields become JSON");
    batch.put(Space::Meta, key_of(partition), text);
}

/// Where a vnode keeps the name of the move that it was made for.
pub(crate) fn joined_key(partition: PartitionId) -> Bytes {
    [JOINED_PREFIX, &partition.0.to_be_bytes()].concat().into()
}

fn key_of(partition: PartitionId) -> Bytes {
    [KEY_PREFIX, &partition.0.to_be_bytes()].concat().into()
}

fn decode(key: &Bytes, value: &Bytes) -> Result<(PartitionId, Rebuilding), EngineError> {
    let corrupt = |detail| EngineError::Corruption {
        operation: "read how far a vnode is filled",
        detail,
    };
    let partition = key[KEY_PREFIX.len()..]
        .try_into()
        .map_err(|_| corrupt(format!("key {key:?}")))?;
    let rebuilding = serde_json::from_slice(value).map_err(|error| corrupt(error.to_string()))?;
    Ok((PartitionId(u16::from_be_bytes(partition)), rebuilding))
}
