//! What a key adds to its tree, and what writes change in it.

use std::collections::BTreeMap;

use annulus_causality::KeyState;
use annulus_ring::PartitionId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::shape::{Block, Leaf};
use crate::mistake::{self, Mistake};
use crate::storage::Batch;
use crate::storage::sum_block::{Sum, SumBlock};

/// The root block, from the blocks of level 1.
pub(crate) fn root_of<'a>(level_one: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> SumBlock {
    let mut root = SumBlock::default();
    for (key, stored) in level_one {
        if let Some((_, block)) = Block::of_stored_key(key) {
            root.add(block.slot(), SumBlock::decode(stored).total());
        }
    }
    root
}

/// What a key's state adds to its leaf; nothing for a key without a record.
pub fn sum_of(stored_key: &[u8], state: Option<&KeyState>) -> Sum {
    state.map_or(Sum::ZERO, |state| {
        let seed = if mistake::is_made(Mistake::TreeHashesValues) {
            state.digest() ^ xxh3_64_with_seed(&state.encode(), 0)
        } else {
            state.digest()
        };
        Sum {
            hash: xxh3_64_with_seed(stored_key, seed),
            keys: 1,
        }
    })
}

/// What some writes change in one tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes(BTreeMap<Leaf, Sum>);

impl Changes {
    /// A key's state became another; `None` is no record.
    pub fn add(
        &mut self,
        leaf: Leaf,
        stored_key: &[u8],
        before: Option<&KeyState>,
        after: Option<&KeyState>,
    ) {
        let change = sum_of(stored_key, after).minus(sum_of(stored_key, before));
        let sum = self.0.entry(leaf).or_default();
        *sum = sum.plus(change);
    }

    /// What changes in the root block.
    pub(crate) fn root(&self) -> SumBlock {
        let mut root = SumBlock::default();
        for (leaf, sum) in &self.0 {
            root.add(leaf.block().above().slot(), *sum);
        }
        root
    }

    /// Puts the changes of levels 1 and 2 into a batch: one change a block.
    pub fn put_into(&self, batch: &mut Batch, partition: PartitionId) {
        for (block, change) in self.blocks() {
            let change = change.encode();
            if !change.is_empty() {
                batch.combine(block.stored_key(partition), change);
            }
        }
    }

    /// The changes of levels 1 and 2.
    pub fn blocks(&self) -> BTreeMap<Block, SumBlock> {
        let mut blocks: BTreeMap<Block, SumBlock> = BTreeMap::new();
        for (leaf, sum) in &self.0 {
            let bottom = leaf.block();
            blocks.entry(bottom).or_default().add(leaf.slot(), *sum);
            let (above, slot) = (bottom.above(), bottom.slot());
            blocks.entry(above).or_default().add(slot, *sum);
        }
        blocks
    }
}
