//! Who owns what at one epoch.
//!
//! Invariants, checked once when a placement is made and relied on everywhere:
//! - every partition has at most N owners and at least one, all distinct, all members; fewer
//!   than N only while N is being changed;
//! - every partition has at most one move, which fits its owners (`moves/check.rs`);
//! - members are ascending by id, with unique ids and names, at most [`MAX_NODES`];
//! - the [fingerprint](Placement::fingerprint) is that of the content.
//!
//! Balance and zones are not checked here: they are the claim's aim (`claim.rs`), and a
//! placement on the way from one claim to the next does not have them.

use std::collections::HashSet;

use thiserror::Error;
use uuid::Uuid;

use crate::document::PlacementDocument;
use crate::epoch::RingEpoch;
use crate::fingerprint::{self, Content};
use crate::moves::{Around, Move, MoveError, check_moves};
use crate::node::{Node, NodeId, NodeIndex};
use crate::partition::{PartitionCount, PartitionId, ReplicationFactor};
use crate::token::{HashSeed, Token};

/// The most nodes a placement can have.
pub const MAX_NODES: usize = 1024;

/// The most moves that can be under way at once.
pub const MAX_MOVES: usize = 2048;

/// Which nodes own which partitions, at one epoch. Immutable; share it behind an `Arc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    cluster_id: Uuid,
    epoch: RingEpoch,
    hash_seed: HashSeed,
    partitions: PartitionCount,
    replication_factor: ReplicationFactor,
    nodes: Vec<Node>,
    /// N places for each partition, in one piece; vacant ones at the end of a row.
    owners: Vec<NodeIndex>,
    /// Ascending by partition.
    pub(crate) moves: Vec<Move>,
    fingerprint: u64,
}

/// Why a document is no placement. Nothing was changed; correct the named field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlacementError {
    /// More members than a placement can hold.
    #[error("{0} nodes: at most {MAX_NODES} are supported")]
    TooManyNodes(usize),
    /// Members not ascending by id, or an id twice.
    #[error("node {0} is listed twice or not in ascending order of ids")]
    NodeOrder(NodeId),
    /// Two members share a name.
    #[error("node {id}: the name {name:?} is taken by another node")]
    DuplicateName {
        /// The second of the two.
        id: NodeId,
        /// The shared name.
        name: String,
    },
    /// A field of a member is empty or no `host:port`.
    #[error("node {id}: {field} is {value:?}, expected {expected}")]
    NodeField {
        /// The member.
        id: NodeId,
        /// The field's name in the document.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// Not N owners for each partition.
    #[error("{actual} owners: expected {expected}, the replication factor for each partition")]
    OwnerCount {
        /// N times the partitions.
        expected: usize,
        /// The length of the list.
        actual: usize,
    },
    /// An owner that is no member.
    #[error("partition {partition}: owner {} is no node, there are {nodes}", owner.0)]
    UnknownOwner {
        /// Where.
        partition: PartitionId,
        /// The index that is out of range.
        owner: NodeIndex,
        /// The number of members.
        nodes: usize,
    },
    /// A member owns the same partition twice.
    #[error("partition {partition}: node {node} is listed twice among its owners")]
    RepeatedOwner {
        /// Where.
        partition: PartitionId,
        /// The member.
        node: NodeId,
    },
    /// A partition without an owner, or a vacant place before an owner.
    #[error("partition {0}: it needs an owner, and vacant places only at the end of its row")]
    Vacancy(PartitionId),
    /// A move is not valid.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// The stated fingerprint is not that of the content.
    #[error(
        "the fingerprint is {actual:016x}, but the document states {stated:016x}: it was \
             edited, damaged, or written by a newer version"
    )]
    Fingerprint {
        /// What the document says.
        stated: u64,
        /// What its content gives.
        actual: u64,
    },
}

impl Placement {
    pub(crate) fn validated(document: PlacementDocument) -> Result<Self, PlacementError> {
        let PlacementDocument {
            cluster_id,
            epoch,
            hash_seed,
            partitions,
            replication_factor,
            nodes,
            owners,
            moves,
            fingerprint: _,
        } = document;
        check_nodes(&nodes)?;
        check_owners(&owners, &nodes, partitions, replication_factor)?;
        let n = replication_factor.len();
        let around = Around {
            epoch,
            partitions: partitions.len(),
            nodes: nodes.len(),
            replicas: n,
            row: |partition: PartitionId| row_of(&owners, n, partition),
        };
        check_moves(&moves, &around)?;
        let fingerprint = fingerprint::of(&Content {
            cluster_id,
            epoch,
            hash_seed,
            partitions,
            replication_factor,
            nodes: &nodes,
            owners: &owners,
            moves: &moves,
        });
        Ok(Self {
            cluster_id,
            epoch,
            hash_seed,
            partitions,
            replication_factor,
            nodes,
            owners,
            moves,
            fingerprint,
        })
    }

    /// The cluster it belongs to.
    pub fn cluster_id(&self) -> Uuid {
        self.cluster_id
    }

    /// Its version.
    pub fn epoch(&self) -> RingEpoch {
        self.epoch
    }

    /// Key of the key hash.
    pub fn hash_seed(&self) -> HashSeed {
        self.hash_seed
    }

    /// Q: the number of partitions.
    pub fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    /// N: the number of owners of each partition. While it is being changed, some partitions have
    /// fewer: W and R are counted of the owners that a partition has.
    pub fn replication_factor(&self) -> ReplicationFactor {
        self.replication_factor
    }

    /// Hash of the whole content (encoding: `fingerprint.rs`). Two nodes at the same epoch
    /// with different fingerprints hold different placements: refuse both.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The members, ascending by id.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The indexes of all members.
    pub fn node_indexes(&self) -> impl ExactSizeIterator<Item = NodeIndex> + use<> {
        (0..self.nodes.len()).map(NodeIndex::from_at)
    }

    /// A member by its index.
    ///
    /// # Panics
    /// If the index is of another placement and too large for this one.
    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[index.at()]
    }

    /// A member by its id.
    pub fn node_by_id(&self, id: NodeId) -> Option<&Node> {
        self.index_of(id).map(|index| self.node(index))
    }

    /// The index of a member; `None` if it is no member.
    pub fn index_of(&self, id: NodeId) -> Option<NodeIndex> {
        let found = self.nodes.binary_search_by_key(&id, |node| node.id);
        found.ok().map(NodeIndex::from_at)
    }

    /// The owners of a partition, the preferred one first: who reads are answered by and who
    /// mints. The old owners until a move reaches READ_NEW, then the new ones.
    ///
    /// # Panics
    /// If the partition is not below [`Placement::partitions`].
    pub fn owners(&self, partition: PartitionId) -> &[NodeIndex] {
        row_of(&self.owners, self.replication_factor.len(), partition)
    }

    /// Whether the node owns the partition.
    pub fn is_owner(&self, partition: PartitionId, node: NodeIndex) -> bool {
        self.owners(partition).contains(&node)
    }

    /// The partition of a key, and its owners.
    pub fn locate(&self, keyspace: &str, key: &[u8]) -> (PartitionId, &[NodeIndex]) {
        let partition = self.partitions.of(Token::of(self.hash_seed, keyspace, key));
        (partition, self.owners(partition))
    }

    /// The partitions a node owns (its vnodes), ascending.
    pub fn partitions_of(&self, node: NodeIndex) -> impl Iterator<Item = PartitionId> + '_ {
        self.partitions
            .ids()
            .filter(move |partition| self.is_owner(*partition, node))
    }

    /// Writes a row of a copy that is never published: its fingerprint is not kept up.
    pub(crate) fn set_row(&mut self, partition: PartitionId, row: &[NodeIndex]) {
        let start = partition.at() * self.replication_factor.len();
        self.owners[start..start + row.len()].copy_from_slice(row);
    }

    pub(crate) fn all_owners(&self) -> &[NodeIndex] {
        &self.owners
    }
}

/// A partition's owners, without the vacant places at its row's end.
fn row_of(owners: &[NodeIndex], n: usize, partition: PartitionId) -> &[NodeIndex] {
    without_vacancies(&owners[partition.at() * n..(partition.at() + 1) * n])
}

fn without_vacancies(row: &[NodeIndex]) -> &[NodeIndex] {
    let last = row.iter().rposition(|owner| *owner != NodeIndex::VACANT);
    &row[..last.map_or(0, |last| last + 1)]
}

/// Checks a node list as a placement needs it, in its order.
pub(crate) fn check_nodes(nodes: &[Node]) -> Result<(), PlacementError> {
    if nodes.len() > MAX_NODES {
        return Err(PlacementError::TooManyNodes(nodes.len()));
    }
    if let Some(pair) = nodes.windows(2).find(|pair| pair[0].id >= pair[1].id) {
        return Err(PlacementError::NodeOrder(pair[1].id));
    }
    let mut names = HashSet::with_capacity(nodes.len());
    for node in nodes {
        check_fields(node)?;
        if !names.insert(node.name.as_str()) {
            return Err(PlacementError::DuplicateName {
                id: node.id,
                name: node.name.clone(),
            });
        }
    }
    Ok(())
}

fn check_fields(node: &Node) -> Result<(), PlacementError> {
    let error = |field, value: &str, expected| {
        Err(PlacementError::NodeField {
            id: node.id,
            field,
            value: value.to_owned(),
            expected,
        })
    };
    for (field, value) in [("name", &node.name), ("zone", &node.zone.0)] {
        if value.is_empty() {
            return error(field, value, "some text");
        }
    }
    let addresses = &node.addresses;
    for (field, value) in [
        ("addresses.peer", &addresses.peer),
        ("addresses.grpc", &addresses.grpc),
        ("addresses.http", &addresses.http),
        ("addresses.admin", &addresses.admin),
    ] {
        let parts = value.rsplit_once(':');
        if !parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
            return error(field, value, "host:port");
        }
    }
    Ok(())
}

fn check_owners(
    owners: &[NodeIndex],
    nodes: &[Node],
    partitions: PartitionCount,
    replication_factor: ReplicationFactor,
) -> Result<(), PlacementError> {
    let expected = partitions.len() * replication_factor.len();
    if owners.len() != expected {
        return Err(PlacementError::OwnerCount {
            expected,
            actual: owners.len(),
        });
    }
    for (partition, row) in partitions
        .ids()
        .zip(owners.chunks_exact(replication_factor.len()))
    {
        let row = without_vacancies(row);
        if row.is_empty() || row.contains(&NodeIndex::VACANT) {
            return Err(PlacementError::Vacancy(partition));
        }
        for (position, &owner) in row.iter().enumerate() {
            let Some(node) = nodes.get(owner.at()) else {
                let nodes = nodes.len();
                return Err(PlacementError::UnknownOwner {
                    partition,
                    owner,
                    nodes,
                });
            };
            if row[..position].contains(&owner) {
                return Err(PlacementError::RepeatedOwner {
                    partition,
                    node: node.id,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
