//! The hash tree of a vnode in the engine: reading blocks, and building a tree over data that has none.
//!
//! Data directories of programs that kept no trees have data and no trees. A record in [`Space::Meta`]
//! says that trees are kept: from the start where there is no data, else once [`build`] has gone through it,
//! partition after partition, each in one batch with the record of how far it has come.

use annulus_ring::{PartitionCount, PartitionId};
use bytes::Bytes;

use super::record;
use crate::hash_tree::{self, Block, Changes, KeySummary, Leaf, LeafKeys};
use crate::storage::{
    Batch, Engine, EngineError, Entry, KeyRange, Persistence, ScanLimit, Space, Sum, SumBlock,
    key_encoding, sum_block,
};

/// Says how far trees are built: `format (1) | next partition (4, little-endian)`; all of them after the last.
const KEY: &[u8] = b"trees";
const FORMAT: u8 = 1;
const ALL_BUILT: u32 = u32::MAX;

/// Level 1 is 64 blocks of less than a kibibyte.
const LEVEL_ONE: ScanLimit = ScanLimit {
    entries: usize::MAX,
    bytes: usize::MAX,
};

/// Data is read in parts of this size.
const PART: ScanLimit = ScanLimit {
    entries: 1000,
    bytes: 8 * 1024 * 1024,
};

/// The root block.
pub(super) fn root(engine: &dyn Engine, partition: PartitionId) -> Result<SumBlock, EngineError> {
    let range = hash_tree::level_one_range(partition);
    let found = engine.scan(Space::Tree, &range, LEVEL_ONE)?;
    let blocks = found.iter().map(|entry| (&entry.key[..], &entry.value[..]));
    Ok(hash_tree::root_of(blocks))
}

/// A block of level 1 or 2.
pub(super) fn block(
    engine: &dyn Engine,
    partition: PartitionId,
    block: Block,
) -> Result<SumBlock, EngineError> {
    let stored = engine.get(Space::Tree, &block.stored_key(partition))?;
    Ok(SumBlock::decode(&stored.unwrap_or_default()))
}

/// What a leaf's keys have come to; stops after `limit` bytes of records.
pub(super) fn leaf_keys(
    engine: &dyn Engine,
    leaf: Leaf,
    range: &KeyRange,
    read_bytes: &mut usize,
) -> Result<LeafKeys, EngineError> {
    let mut keys = Vec::new();
    for_each(engine, range, &mut |entry| {
        *read_bytes += entry.key.len() + entry.value.len();
        keys.push(summary_of(entry));
    })?;
    // One that can't be read is no key that is absent.
    Ok(LeafKeys {
        leaf,
        keys: keys.into_iter().collect(),
    })
}

fn summary_of(entry: &Entry) -> Option<KeySummary> {
    let key = key_encoding::decode(&entry.key)?;
    match record::decode(&entry.key, &entry.value) {
        Ok(state) => Some(KeySummary {
            keyspace: key.keyspace,
            key: key.key,
            clock: state.clock().clone(),
            dots: state.siblings().iter().map(|sibling| sibling.dot).collect(),
        }),
        Err(detail) => {
            tracing::error!(partition = %key.partition, detail, "a stored record is damaged");
            None
        }
    }
}

fn for_each(
    engine: &dyn Engine,
    range: &KeyRange,
    look: &mut dyn FnMut(&Entry),
) -> Result<(), EngineError> {
    let mut left = range.clone();
    loop {
        let found = engine.scan(Space::Data, &left, PART)?;
        let Some(last) = found.last() else {
            return Ok(());
        };
        found.iter().for_each(&mut *look);
        left = left.after(&last.key);
    }
}

/// What the data makes of a tree.
#[derive(Debug, Default)]
pub(crate) struct Recomputed {
    /// The tree, as changes of an empty one.
    pub(crate) tree: Changes,
    /// Records that can't be read back, and are left out.
    pub(crate) unreadable: usize,
    /// Bytes of records.
    pub(crate) bytes: usize,
}

/// What the data of a range makes of a vnode's tree.
pub(crate) fn recompute(
    engine: &dyn Engine,
    partitions: PartitionCount,
    range: &KeyRange,
) -> Result<Recomputed, EngineError> {
    let mut recomputed = Recomputed::default();
    for_each(engine, range, &mut |entry| {
        recomputed.bytes += entry.key.len() + entry.value.len();
        let key = key_encoding::decode(&entry.key);
        let state = record::decode(&entry.key, &entry.value);
        if let (Some(key), Ok(state)) = (key, state) {
            let leaf = Leaf::of(partitions, key.token);
            recomputed.tree.add(leaf, &entry.key, None, Some(&state));
        } else {
            recomputed.unreadable += 1;
        }
    })?;
    Ok(recomputed)
}

/// What a look at one block of leaves found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// Bytes of records read.
    pub(super) bytes: usize,
    /// Sums that were not those of the data.
    pub(super) wrong: usize,
    /// Whether a record can't be read back: then nobody can tell what the sums should be.
    pub(super) unreadable: bool,
}

/// Compares the sums of a block of level 2, and its own, with the data. Changes that mend them are put into
/// the batch; they are right only while nothing else writes the vnode.
pub(super) fn check(
    engine: &dyn Engine,
    partitions: PartitionCount,
    partition: PartitionId,
    block: Block,
    mends: &mut Batch,
) -> Result<Checked, EngineError> {
    let range = block.range(partitions, partition);
    let recomputed = recompute(engine, partitions, &range)?;
    let mut checked = Checked {
        bytes: recomputed.bytes,
        wrong: 0,
        unreadable: recomputed.unreadable > 0,
    };
    if checked.unreadable {
        return Ok(checked);
    }
    let right = recomputed.tree.blocks().remove(&block).unwrap_or_default();
    let stored = self::block(engine, partition, block)?;
    let (above, slot) = (block.above(), block.slot());
    let summed = self::block(engine, partition, above)?.at(slot);
    let mut mend = |block: Block, slot: usize, by: Sum| {
        let slot = u8::try_from(slot).expect("a block has 64 slots");
        mends.combine(block.stored_key(partition), sum_block::change(slot, by));
        checked.wrong += 1;
    };
    for slot in right.differing(&stored) {
        mend(block, slot, right.at(slot).minus(stored.at(slot)));
    }
    if summed != right.total() {
        mend(above, slot, right.total().minus(summed));
    }
    Ok(checked)
}

/// At start: whether trees are kept already. Where there is no data they are from now on.
pub(super) fn are_kept(engine: &dyn Engine) -> Result<bool, EngineError> {
    if let Some(next) = progress(engine)? {
        return Ok(next == ALL_BUILT);
    }
    let any = ScanLimit {
        entries: 1,
        bytes: 1,
    };
    let is_empty = engine
        .scan(Space::Data, &KeyRange::default(), any)?
        .is_empty();
    if is_empty {
        let mut batch = Batch::new();
        put_progress(&mut batch, ALL_BUILT);
        engine.write(&batch, Persistence::Synced)?;
    }
    Ok(is_empty)
}

/// Builds the trees of all data, where [`are_kept`] says no. Nothing else may write meanwhile. Blocks: it
/// reads all data once. Goes on where an earlier run was ended.
pub(super) fn build(engine: &dyn Engine, partitions: PartitionCount) -> Result<(), EngineError> {
    let first = progress(engine)?.unwrap_or(0);
    tracing::info!(
        first,
        of = partitions.get(),
        "building hash trees over data that has none"
    );
    let mut keys: u64 = 0;
    for partition in partitions
        .ids()
        .filter(|partition| u32::from(partition.0) >= first)
    {
        let range = key_encoding::partition_range(partition);
        let Recomputed {
            tree, unreadable, ..
        } = recompute(engine, partitions, &range)?;
        if unreadable > 0 {
            tracing::error!(%partition, unreadable, "records can't be read back");
        }
        let mut batch = Batch::new();
        tree.put_into(&mut batch, partition);
        put_progress(&mut batch, u32::from(partition.0) + 1);
        engine.write(&batch, Persistence::Buffered)?;
        let built = u64::from(tree.root().total().keys);
        keys += built;
        if built > 0 {
            tracing::info!(%partition, keys, "hash tree built");
        }
    }
    let mut batch = Batch::new();
    put_progress(&mut batch, ALL_BUILT);
    engine.write(&batch, Persistence::Synced)
}

fn progress(engine: &dyn Engine) -> Result<Option<u32>, EngineError> {
    let Some(record) = engine.get(Space::Meta, KEY)? else {
        return Ok(None);
    };
    match record.split_first_chunk() {
        Some(([FORMAT], next)) if next.len() == size_of::<u32>() => {
            let next = next.try_into().expect("four bytes");
            Ok(Some(u32::from_le_bytes(next)))
        }
        _ => Err(EngineError::Corruption {
            operation: "read the record of hash trees",
            detail: format!("{record:02x?} is no such record, or a newer program's"),
        }),
    }
}

fn put_progress(batch: &mut Batch, next: u32) {
    let record = [&[FORMAT][..], &next.to_le_bytes()].concat();
    batch.put(Space::Meta, KEY, Bytes::from(record));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryEngine;

    #[test]
    fn trees_are_kept_from_the_start_where_there_is_no_data() {
        let engine = MemoryEngine::new();
        assert_eq!(are_kept(&engine), Ok(true));
        let mut batch = Batch::new();
        batch.put(Space::Data, &b"\0\0data"[..], &b""[..]);
        engine.write(&batch, Persistence::Synced).unwrap();
        assert_eq!(are_kept(&engine), Ok(true), "remembered");
    }

    #[test]
    fn data_without_trees_gets_them_once() {
        let engine = MemoryEngine::new();
        let mut batch = Batch::new();
        batch.put(Space::Data, &b"\0\0data"[..], &b""[..]);
        engine.write(&batch, Persistence::Synced).unwrap();
        assert_eq!(are_kept(&engine), Ok(false));
        build(&engine, PartitionCount::new(4).unwrap()).unwrap();
        assert_eq!(are_kept(&engine), Ok(true));
    }

    #[test]
    fn a_newer_programs_record_is_refused() {
        let engine = MemoryEngine::new();
        let mut batch = Batch::new();
        batch.put(Space::Meta, KEY, &b"\x02aaaa"[..]);
        engine.write(&batch, Persistence::Synced).unwrap();
        assert!(matches!(
            are_kept(&engine),
            Err(EngineError::Corruption { .. })
        ));
    }
}
