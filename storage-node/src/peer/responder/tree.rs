//! Answers what anti-entropy asks: the lowest class of requests, few at a time.

use annulus_proto::model::RequestError;
use annulus_proto::peer::v1::{LeavesReply, ReadLeaves, ReadTree, TreeReply, reply};
use annulus_ring::Placement;
use bytes::Bytes;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::super::{tree_wire, wire};
use super::{RETRY_AFTER, Responder, in_time};
use crate::storage::Sum;

/// Reads of trees that are worked on at a time; more are refused at once.
pub(super) const MAX_TREE_READS: usize = 4;

impl Responder {
    pub(super) async fn read_tree(
        &self,
        read: ReadTree,
        deadline: Instant,
    ) -> Result<reply::Body, RequestError> {
        let _permit = self.tree_permit()?;
        let partition = wire::read_partition(read.partition)?;
        let blocks = tree_wire::read_blocks(&read.blocks)?;
        if let Some(hash) = read.unless_hash {
            let root = in_time(deadline, self.0.replica.tree_root(partition)).await??;
            let keys = read.unless_keys;
            if root == (Sum { hash, keys }) {
                let (same, blocks) = (true, Vec::new());
                return Ok(reply::Body::Tree(TreeReply { same, blocks }));
            }
        }
        let read = self.0.replica.tree_blocks(partition, blocks);
        let blocks = in_time(deadline, read).await??;
        Ok(reply::Body::Tree(TreeReply {
            same: false,
            blocks: blocks
                .iter()
                .map(|block| Bytes::from(block.encode()))
                .collect(),
        }))
    }

    pub(super) async fn read_leaves(
        &self,
        read: ReadLeaves,
        placement: &Placement,
        deadline: Instant,
    ) -> Result<reply::Body, RequestError> {
        let _permit = self.tree_permit()?;
        let partition = wire::read_partition(read.partition)?;
        let leaves = tree_wire::read_leaf_numbers(&read.leaves)?;
        let read = self
            .0
            .replica
            .leaf_keys(placement.partitions(), partition, leaves);
        let leaves = in_time(deadline, read).await??;
        let leaves = leaves.into_iter().map(tree_wire::leaf).collect();
        Ok(reply::Body::Leaves(LeavesReply { leaves }))
    }

    fn tree_permit(&self) -> Result<SemaphorePermit<'_>, RequestError> {
        self.0.tree_reads.try_acquire().map_err(|_| {
            let message = format!("{MAX_TREE_READS} reads of hash trees are under way here");
            RequestError::overloaded(message, RETRY_AFTER)
        })
    }
}
