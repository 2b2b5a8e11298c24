//! What anti-entropy asks of peers.

use annulus_proto::model::{Key, KeyspaceName};
use annulus_proto::peer::v1::{Merge, MergeReason, ReadLeaves, ReadTree, reply, request};
use annulus_ring::{NodeId, PartitionId, RingEpoch};
use bytes::Bytes;
use prost::Message as _;
use tokio::time::Instant;

use super::super::{tree_wire, wire};
use super::{PeerFailure, Peers, unexpected};
use crate::hash_tree::{Block, Leaf, LeafKeys};
use crate::storage::{Sum, SumBlock};

/// An answer, and the bytes of messages that it took.
#[derive(Debug, Clone)]
pub(crate) struct Weighed<T> {
    pub(crate) answer: T,
    pub(crate) bytes: usize,
}

impl Peers {
    /// Blocks of the peer's tree; `None` when its root's sum is `unless`.
    pub(crate) async fn tree_blocks(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        partition: PartitionId,
        blocks: &[Block],
        unless: Option<Sum>,
        deadline: Instant,
    ) -> Result<Weighed<Option<Vec<SumBlock>>>, PeerFailure> {
        let read = ReadTree {
            partition: partition.0.into(),
            blocks: blocks.iter().map(|block| block.number()).collect(),
            unless_hash: unless.map(|sum| sum.hash),
            unless_keys: unless.map_or(0, |sum| sum.keys),
        };
        let asked = read.encoded_len();
        let body = request::Body::ReadTree(read);
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::Tree(reply) => {
                let bytes = asked + reply.encoded_len();
                let read = reply.blocks.iter().map(|block| SumBlock::decode(block));
                let answer = (!reply.same).then(|| read.collect::<Vec<_>>());
                let is_whole = answer
                    .as_ref()
                    .is_none_or(|read| read.len() == blocks.len());
                if !is_whole {
                    let message = format!("node {to} sent other blocks than asked for");
                    return Err(PeerFailure::Lost(message));
                }
                Ok(Weighed { answer, bytes })
            }
            other => Err(unexpected(to, &other)),
        }
    }

    /// The keys of leaves; the last ones may be missing.
    pub(crate) async fn leaf_keys(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        partition: PartitionId,
        leaves: &[Leaf],
        deadline: Instant,
    ) -> Result<Weighed<Vec<LeafKeys>>, PeerFailure> {
        let read = ReadLeaves {
            partition: partition.0.into(),
            leaves: leaves.iter().map(|leaf| leaf.number()).collect(),
        };
        let asked = read.encoded_len();
        let body = request::Body::ReadLeaves(read);
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::Leaves(reply) => {
                let bytes = asked + reply.encoded_len();
                let read = reply.leaves.into_iter().map(tree_wire::read_leaf);
                let answer = read.collect::<Result<_, _>>().map_err(|refused| {
                    PeerFailure::Lost(format!("node {to} sent bad keys: {refused}"))
                })?;
                Ok(Weighed { answer, bytes })
            }
            other => Err(unexpected(to, &other)),
        }
    }

    /// Merges a state that the peer was found to lack. Whether it changed anything there.
    pub(crate) async fn repair(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        (keyspace, key): (&KeyspaceName, &Key),
        state: Bytes,
        deadline: Instant,
    ) -> Result<bool, PeerFailure> {
        let body = request::Body::Merge(Merge {
            key: Some(wire::key_ref(keyspace, key)),
            state,
            reason: MergeReason::AntiEntropy.into(),
        });
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::Merge(reply) => Ok(reply.changed),
            other => Err(unexpected(to, &other)),
        }
    }
}
