//! The fingerprint of a placement: "same epoch, same hash on every node".
//!
//! xxh3-64 (seed 0) over, in this order, with integers little-endian and every string
//! preceded by its length as u64: [`FORMAT`]; cluster id (16 bytes); epoch (u64); hash seed
//! (u64); partitions (u32); replication factor (u8); number of nodes (u64), then for each
//! node, ascending by id: id (16 bytes), name, peer, grpc, http and admin address, zone,
//! capacity (u32), state (u8: 0 active, 1 draining); the owners, partition by partition (u16
//! node index each, 65535 for a vacant place). If there are moves, their number (u64), then for
//! each, ascending by partition: epoch of its id (u64), partition (u16), who joins and who leaves
//! (u16 node index each, 65535 for nobody), stage (u8: 0 PREPARE to 6 CLEANUP), the epoch of its
//! stage (u64), whether its leaver is lost (u8).
//!
//! It finds mistakes and split brains, not forgeries.

use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use crate::epoch::RingEpoch;
use crate::moves::Move;
use crate::node::{Node, NodeIndex, NodeState};
use crate::partition::{PartitionCount, ReplicationFactor};
use crate::token::HashSeed;

/// Name and version of the encoding; a change to what is hashed changes it.
const FORMAT: &[u8] = b"annulus-placement-1";

/// The content that is hashed.
pub(crate) struct Content<'a> {
    pub(crate) cluster_id: Uuid,
    pub(crate) epoch: RingEpoch,
    pub(crate) hash_seed: HashSeed,
    pub(crate) partitions: PartitionCount,
    pub(crate) replication_factor: ReplicationFactor,
    pub(crate) nodes: &'a [Node],
    pub(crate) owners: &'a [NodeIndex],
    pub(crate) moves: &'a [Move],
}

/// Hashes the content in the encoding of the module's head.
pub(crate) fn of(content: &Content<'_>) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(FORMAT);
    hasher.update(content.cluster_id.as_bytes());
    hasher.update(&content.epoch.0.to_le_bytes());
    hasher.update(&content.hash_seed.0.to_le_bytes());
    hasher.update(&content.partitions.get().to_le_bytes());
    hasher.update(&[content.replication_factor.get()]);
    hasher.update(&(content.nodes.len() as u64).to_le_bytes());
    for node in content.nodes {
        add_node(&mut hasher, node);
    }
    for owner in content.owners {
        hasher.update(&owner.0.to_le_bytes());
    }
    if !content.moves.is_empty() {
        hasher.update(&(content.moves.len() as u64).to_le_bytes());
    }
    for it in content.moves {
        add_move(&mut hasher, it);
    }
    hasher.digest()
}

fn add_move(hasher: &mut Xxh3, it: &Move) {
    hasher.update(&it.id.epoch.0.to_le_bytes());
    hasher.update(&it.partition().0.to_le_bytes());
    for node in [it.add, it.remove] {
        hasher.update(&node.unwrap_or(NodeIndex::VACANT).0.to_le_bytes());
    }
    hasher.update(&[it.stage as u8]);
    hasher.update(&it.since.0.to_le_bytes());
    hasher.update(&[u8::from(it.lost)]);
}

fn add_node(hasher: &mut Xxh3, node: &Node) {
    hasher.update(node.id.0.as_bytes());
    let addresses = &node.addresses;
    for text in [
        &node.name,
        &addresses.peer,
        &addresses.grpc,
        &addresses.http,
        &addresses.admin,
        &node.zone.0,
    ] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(&node.capacity.get().to_le_bytes());
    hasher.update(&[match node.state {
        NodeState::Active => 0,
        NodeState::Draining => 1,
    }]);
}

/// 64-bit values as 16 hexadecimal digits, for documents whose readers keep 53 bits.
pub(crate) mod hex64 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(crate) fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{value:016x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        parse(&String::deserialize(from)?).ok_or_else(|| D::Error::custom(EXPECTED))
    }

    pub(super) const EXPECTED: &str = "expected 16 hexadecimal digits";

    fn parse(text: &str) -> Option<u64> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
    }

    /// The same for a value that may be absent.
    pub(crate) mod option {
        use serde::{Deserialize, Deserializer, Serializer, de::Error};

        #[expect(clippy::ref_option, reason = "serde's signature")]
        pub(crate) fn serialize<S: Serializer>(
            value: &Option<u64>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => super::serialize(value, to),
                None => to.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<u64>, D::Error> {
            let text = Option::<String>::deserialize(from)?;
            text.map(|text| super::parse(&text).ok_or_else(|| D::Error::custom(super::EXPECTED)))
                .transpose()
        }
    }
}
