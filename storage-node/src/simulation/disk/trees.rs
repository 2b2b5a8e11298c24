//! Hash trees on a simulated disk: whether they are those of the data, and what they lose with a record.

use annulus_ring::{PartitionCount, PartitionId};

use super::SimDisk;
use crate::hash_tree::{Block, Changes, Leaf, tree_range};
use crate::replica::{decode_record, recompute_tree};
use crate::simulation::layout::PARTITIONS;
use crate::storage::{Engine as _, Entry, ScanLimit, Space, SumBlock, key_encoding};

impl SimDisk {
    /// What of the hash trees on the platter is not what the data there says. Partitions with a damaged record
    /// are left out: nobody can tell.
    pub fn wrong_sums(&self) -> Vec<String> {
        let medium = self.0.medium.lock();
        let (partitions, mut wrong) = (partition_count(), Vec::new());
        for partition in partitions.ids() {
            let range = key_encoding::partition_range(partition);
            let recomputed = recompute_tree(&medium.durable, partitions, &range);
            let recomputed = recomputed.expect("memory does not fail");
            if recomputed.unreadable > 0 {
                continue;
            }
            let mut right = recomputed.tree.blocks();
            let all = ScanLimit {
                entries: usize::MAX,
                bytes: usize::MAX,
            };
            let range = tree_range(partition);
            let stored = medium.durable.scan(Space::Tree, &range, all);
            for entry in stored.expect("memory does not fail") {
                let stored = SumBlock::decode(&entry.value);
                let block = Block::of_stored_key(&entry.key);
                let (_, block) = block.expect("only blocks are written there");
                if right.remove(&block).unwrap_or_default() != stored {
                    wrong.push(format!("partition {partition}, {block:?}"));
                }
            }
            right.retain(|_, sums| *sums != SumBlock::default());
            wrong.extend(
                right
                    .keys()
                    .map(|block| format!("partition {partition}, no {block:?}")),
            );
        }
        wrong
    }
}

fn partition_count() -> PartitionCount {
    PartitionCount::new(PARTITIONS).expect("a power of two")
}

/// What it changes in its hash tree that a record is gone; nothing if it can't be read.
pub(super) fn taken_out(entry: &Entry) -> Option<(PartitionId, Changes)> {
    let key = key_encoding::decode(&entry.key)?;
    let state = decode_record(&entry.key, &entry.value).ok()?;
    let leaf = Leaf::of(partition_count(), key.token);
    let mut changes = Changes::default();
    changes.add(leaf, &entry.key, Some(&state), None);
    Some((key.partition, changes))
}
