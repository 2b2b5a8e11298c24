//! Reading a vnode back and comparing it with its hash tree. A vnode whose records can't be read is noted as damaged,
//! to be rebuilt.

use annulus_ring::{PartitionCount, PartitionId};

use super::Replica;
use crate::hash_tree::Block;
use crate::replica::committer::Operation;
use crate::replica::stored_tree::{self, Checked};
use crate::replica::{ReplicaError, Scrubbed};
use crate::storage::{Batch, EngineError, Persistence, Space};

/// One part of a scrub ends after so many blocks of leaves, or bytes of records.
const PART_BLOCKS: u32 = 64;
const PART_BYTES: usize = 4 * 1024 * 1024;

/// Followed by the partition: the wall time of the last scrub in milliseconds, little-endian.
const KEY_PREFIX: &[u8] = b"scrubbed/";

impl Replica {
    /// Reads a part of a vnode back, from a block of leaves on (the first is 0); puts right what its tree has
    /// wrong.
    pub async fn scrub(
        &self,
        partitions: PartitionCount,
        partition: PartitionId,
        first: u32,
    ) -> Result<Scrubbed, ReplicaError> {
        let vnode = self.shared.vnodes.get(partition)?;
        let engine = self.shared.engine.clone();
        let read = self.on_disk(move || {
            let (mut suspects, mut part) = (Vec::new(), Scrubbed::default());
            let mut number = first;
            while let Some(block) = Block::of_level_two(number) {
                if number >= first + PART_BLOCKS || part.bytes > PART_BYTES {
                    part.next = Some(number);
                    break;
                }
                // Others write meanwhile: what is found is only suspected.
                let ignored = &mut Batch::new();
                let engine = engine.as_ref();
                let checked = stored_tree::check(engine, partitions, partition, block, ignored)?;
                part.bytes += checked.bytes;
                part.unreadable += usize::from(checked.unreadable);
                if checked.wrong > 0 {
                    suspects.push(block);
                }
                number += 1;
            }
            Ok::<_, EngineError>((suspects, part))
        });
        let (suspects, mut part) = self.intact(&vnode, read.await?)?;
        if part.unreadable > 0 {
            let _ = self.damaged(&vnode, format!("{} blocks of leaves", part.unreadable));
        }
        for block in suspects {
            part.wrong += self.mend_tree(partitions, partition, block).await?.wrong;
        }
        Ok(part)
    }

    async fn mend_tree(
        &self,
        partitions: PartitionCount,
        partition: PartitionId,
        block: Block,
    ) -> Result<Checked, ReplicaError> {
        let vnode = self.shared.vnodes.get(partition)?;
        let mend = |reply| Operation::MendTree {
            vnode,
            partitions,
            block,
            reply,
        };
        self.in_turn(partition, mend).await
    }

    /// When a vnode was last scrubbed, as [`Self::set_scrubbed_at_ms`] was told.
    pub async fn scrubbed_at_ms(
        &self,
        partition: PartitionId,
    ) -> Result<Option<u64>, ReplicaError> {
        let engine = self.shared.engine.clone();
        let read = self.on_disk(move || engine.get(Space::Meta, &key_of(partition)));
        let record = read.await??;
        // One that is no such record is none: the worst is a scrub too many.
        Ok(record.and_then(|record| record[..].try_into().ok().map(u64::from_le_bytes)))
    }

    /// Notes when a vnode was last scrubbed. A crash may forget it.
    pub async fn set_scrubbed_at_ms(
        &self,
        partition: PartitionId,
        at_ms: u64,
    ) -> Result<(), ReplicaError> {
        let engine = self.shared.engine.clone();
        let written = self.on_disk(move || {
            let mut batch = Batch::new();
            batch.put(Space::Meta, key_of(partition), at_ms.to_le_bytes().to_vec());
            engine.write(&batch, Persistence::Buffered)
        });
        Ok(written.await??)
    }
}

fn key_of(partition: PartitionId) -> Vec<u8> {
    [KEY_PREFIX, &partition.0.to_be_bytes()].concat()
}
