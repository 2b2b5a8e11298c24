//! What anti-entropy asks of a replica.
//!
//! A vnode that lacks its data refuses, as it refuses reads; damage that is met is noted, as in reads.

use std::sync::Arc;

use annulus_ring::{PartitionCount, PartitionId};
use tokio::sync::oneshot;

use super::Replica;
use crate::hash_tree::{Block, Leaf, LeafKeys};
use crate::replica::committer::Operation;
use crate::replica::vnode::Vnode;
use crate::replica::{ReplicaError, stored_tree};
use crate::storage::{EngineError, Sum, SumBlock};

/// Reading the keys of leaves ends after so many bytes of records.
const LEAF_KEYS_BYTES: usize = 4 * 1024 * 1024;

impl Replica {
    /// Sees to it that this node's data has hash trees. Called before anything is owned. On data of a program
    /// that kept none it reads everything once.
    pub async fn keep_trees(&self, partitions: PartitionCount) -> Result<(), ReplicaError> {
        let shared = self.shared.clone();
        let kept = self.on_disk(move || {
            let engine = shared.engine.as_ref();
            if !stored_tree::are_kept(engine)? {
                stored_tree::build(engine, partitions)?;
            }
            Ok(())
        });
        kept.await?
    }

    /// The sum of a vnode's whole tree: equal on two nodes that hold the same.
    pub async fn tree_root(&self, partition: PartitionId) -> Result<Sum, ReplicaError> {
        Ok(self.root_block(partition).await?.total())
    }

    /// Blocks of a vnode's tree, in the order asked for.
    pub async fn tree_blocks(
        &self,
        partition: PartitionId,
        blocks: Vec<Block>,
    ) -> Result<Vec<SumBlock>, ReplicaError> {
        if blocks == [Block::ROOT] {
            return Ok(vec![self.root_block(partition).await?]);
        }
        let vnode = self.shared.vnodes.get(partition)?;
        let since = vnode.readable()?;
        let root = if blocks.contains(&Block::ROOT) {
            self.root_block(partition).await?
        } else {
            SumBlock::default()
        };
        let engine = self.shared.engine.clone();
        let read = self.on_disk(move || {
            let one = |block: Block| match block {
                Block::ROOT => Ok(root.clone()),
                block => stored_tree::block(engine.as_ref(), partition, block),
            };
            let found = blocks.into_iter().map(one);
            found.collect::<Result<Vec<_>, EngineError>>()
        });
        let found = self.intact(&vnode, read.await?)?;
        vnode.still_readable(since)?;
        Ok(found)
    }

    /// The keys of leaves, in the order asked for; after some mebibytes the rest is left out, never all.
    pub async fn leaf_keys(
        &self,
        partitions: PartitionCount,
        partition: PartitionId,
        leaves: Vec<Leaf>,
    ) -> Result<Vec<LeafKeys>, ReplicaError> {
        let vnode = self.shared.vnodes.get(partition)?;
        let since = vnode.readable()?;
        let engine = self.shared.engine.clone();
        let read = self.on_disk(move || {
            let (mut found, mut bytes) = (Vec::with_capacity(leaves.len()), 0);
            for leaf in leaves {
                let range = leaf.range(partitions, partition);
                let keys = stored_tree::leaf_keys(engine.as_ref(), leaf, &range, &mut bytes)?;
                found.push(keys);
                if bytes > LEAF_KEYS_BYTES {
                    break;
                }
            }
            Ok::<_, EngineError>(found)
        });
        let found = self.intact(&vnode, read.await?)?;
        vnode.still_readable(since)?;
        for leaf in found.iter().filter(|leaf| leaf.keys.is_none()) {
            // Whoever compares is told which leaf; the vnode is mended for it.
            let _ = self.damaged(&vnode, format!("a record of {:?}", leaf.leaf));
        }
        Ok(found)
    }

    async fn root_block(&self, partition: PartitionId) -> Result<SumBlock, ReplicaError> {
        let vnode = self.shared.vnodes.get(partition)?;
        let since = vnode.readable()?;
        let root = match vnode.root() {
            Some(root) => root,
            None => self.read_root(vnode.clone()).await?,
        };
        // What a vnode holds that is being filled is not what it should be compared by.
        vnode.still_readable(since)?;
        Ok(root)
    }

    async fn read_root(&self, vnode: Arc<Vnode>) -> Result<SumBlock, ReplicaError> {
        let (partition, (reply, answer)) = (vnode.partition(), oneshot::channel());
        self.shared
            .enqueue(partition, Operation::ReadRoot { vnode, reply })?;
        answer
            .await
            .unwrap_or(Err(ReplicaError::Stopped { applied: false }))
    }
}
