//! Hash trees to and from the messages.

use annulus_causality::{Actor, Dot, KeyEpoch, VnodeId};
use annulus_proto::model::FieldRefused;
use annulus_proto::peer::v1::{self as pb, ClockEntry};

use super::wire;
use crate::hash_tree::{Block, KeySummary, Leaf, LeafKeys};

/// Most blocks of one request.
pub(super) const MAX_BLOCKS: usize = 64;

/// Most leaves of one request.
pub(super) const MAX_LEAVES: usize = 1024;

pub(super) fn read_blocks(numbers: &[u32]) -> Result<Vec<Block>, FieldRefused> {
    let blocks = numbers.iter().map(|number| Block::new(*number));
    let blocks: Option<Vec<Block>> = blocks.collect();
    let blocks = blocks.filter(|blocks| blocks.len() <= MAX_BLOCKS);
    blocks.ok_or_else(|| FieldRefused::invalid("blocks", "must be at most 64, each below 4161"))
}

pub(super) fn read_leaf_numbers(numbers: &[u32]) -> Result<Vec<Leaf>, FieldRefused> {
    let leaves = numbers.iter().map(|number| Leaf::new(*number));
    let leaves: Option<Vec<Leaf>> = leaves.collect();
    let leaves = leaves.filter(|leaves| leaves.len() <= MAX_LEAVES);
    leaves.ok_or_else(|| FieldRefused::invalid("leaves", "must be at most 1024, each below 262144"))
}

pub(super) fn leaf(keys: LeafKeys) -> pb::Leaf {
    pb::Leaf {
        number: keys.leaf.number(),
        damaged: keys.keys.is_none(),
        keys: keys.keys.unwrap_or_default().iter().map(summary).collect(),
    }
}

pub(super) fn read_leaf(leaf: pb::Leaf) -> Result<LeafKeys, FieldRefused> {
    let pb::Leaf {
        number,
        damaged,
        keys,
    } = leaf;
    let leaf = Leaf::new(number);
    let leaf = leaf.ok_or_else(|| FieldRefused::invalid("leaf", "must be below 262144"))?;
    let keys = keys
        .into_iter()
        .map(read_summary)
        .collect::<Result<_, _>>()?;
    Ok(LeafKeys {
        leaf,
        keys: (!damaged).then_some(keys),
    })
}

fn summary(summary: &KeySummary) -> pb::KeySummary {
    let dot = |dot: &Dot| ClockEntry {
        vnode: dot.actor.vnode.0,
        key_epoch: dot.actor.epoch.0,
        counter: dot.counter,
    };
    pb::KeySummary {
        key: Some(wire::key_ref(&summary.keyspace, &summary.key)),
        clock: wire::clock(&summary.clock),
        dots: summary.dots.iter().map(dot).collect(),
    }
}

fn read_summary(summary: pb::KeySummary) -> Result<KeySummary, FieldRefused> {
    let (keyspace, key) = wire::read_key_ref(summary.key)?;
    let dot = |entry: &ClockEntry| {
        Actor::new(VnodeId(entry.vnode), KeyEpoch(entry.key_epoch)).dot(entry.counter)
    };
    Ok(KeySummary {
        keyspace,
        key,
        clock: wire::read_clock(&summary.clock),
        dots: summary.dots.iter().map(dot).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use annulus_proto::model::{Key, KeyspaceName};

    #[test]
    fn a_leaf_survives_the_wire() {
        let dot = Actor::new(VnodeId(u64::MAX), KeyEpoch(3)).dot(9);
        let mut clock = annulus_causality::VersionVector::new();
        clock.insert(dot);
        let key = KeySummary {
            keyspace: KeyspaceName::kv(),
            key: Key::new(&b"k"[..]).unwrap(),
            clock,
            dots: vec![dot],
        };
        for keys in [None, Some(vec![]), Some(vec![key])] {
            let number = Leaf::new(77).unwrap();
            let original = LeafKeys { leaf: number, keys };
            assert_eq!(read_leaf(leaf(original.clone())).unwrap(), original);
        }
    }

    #[test]
    fn numbers_beyond_the_tree_are_refused() {
        assert!(read_blocks(&[0, 4160]).is_ok());
        assert!(read_blocks(&[4161]).is_err());
        assert!(read_blocks(&[1; 65]).is_err());
        assert!(read_leaf_numbers(&[262_143]).is_ok());
        assert!(read_leaf_numbers(&[262_144]).is_err());
        assert!(read_leaf_numbers(&[0; 1025]).is_err());
        assert!(wire::read_partition(1 << 16).is_err());
    }
}
