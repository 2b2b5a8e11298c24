//! What is known of a key without its values: enough to tell which of two copies lacks something. Pure.

use annulus_causality::{Dot, VersionVector};
use annulus_proto::model::{Key, KeyspaceName};

use super::shape::Leaf;

/// A key's clock and dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySummary {
    /// The keyspace.
    pub keyspace: KeyspaceName,
    /// The key.
    pub key: Key,
    /// All events that the copy knows of.
    pub clock: VersionVector,
    /// The events that it does not know to be replaced, ascending.
    pub dots: Vec<Dot>,
}

/// The keys of one leaf, in the order in which they lie on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafKeys {
    /// Which leaf.
    pub leaf: Leaf,
    /// Its keys; `None` when one of them can't be read back, so that none may be taken for absent.
    pub keys: Option<Vec<KeySummary>>,
}

/// Which way a key's state has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// From the other node to this one.
    Pull,
    /// From this node to the other.
    Push,
    /// Each knows something that the other lacks.
    Both,
}

impl Way {
    /// What two copies that differ need. `None` is a node without a record of the key.
    pub fn between(mine: Option<&KeySummary>, theirs: Option<&KeySummary>) -> Self {
        match (mine, theirs) {
            (None, _) => Self::Pull,
            (_, None) => Self::Push,
            (Some(mine), Some(theirs)) => match (theirs.teaches(mine), mine.teaches(theirs)) {
                (true, false) => Self::Pull,
                (false, true) => Self::Push,
                _ => Self::Both,
            },
        }
    }
}

impl KeySummary {
    /// Whether merging this into `other` changes `other`.
    fn teaches(&self, other: &Self) -> bool {
        let replaced = |dot: &Dot| self.clock.covers(*dot) && !self.dots.contains(dot);
        !other.clock.descends(&self.clock) || other.dots.iter().any(replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use annulus_causality::{Actor, KeyEpoch, VnodeId};

    fn summary(clock: &[(u64, u64)], dots: &[(u64, u64)]) -> KeySummary {
        let actor = |vnode| Actor::new(VnodeId(vnode), KeyEpoch(1));
        let known = clock
            .iter()
            .map(|&(vnode, counter)| (actor(vnode), counter));
        let dots = dots
            .iter()
            .map(|&(vnode, counter)| actor(vnode).dot(counter));
        KeySummary {
            keyspace: KeyspaceName::kv(),
            key: Key::new(&b"k"[..]).unwrap(),
            clock: known.collect(),
            dots: dots.collect(),
        }
    }

    #[test]
    fn a_state_goes_to_who_lacks_it() {
        let old = summary(&[(1, 1)], &[(1, 1)]);
        let new = summary(&[(1, 2)], &[(1, 2)]);
        let other = summary(&[(2, 1)], &[(2, 1)]);
        assert_eq!(Way::between(Some(&old), Some(&new)), Way::Pull);
        assert_eq!(Way::between(Some(&new), Some(&old)), Way::Push);
        assert_eq!(Way::between(Some(&other), Some(&old)), Way::Both);
        assert_eq!(Way::between(None, Some(&old)), Way::Pull);
        assert_eq!(Way::between(Some(&old), None), Way::Push);
    }

    #[test]
    fn of_equal_clocks_the_one_with_fewer_siblings_teaches() {
        let both = summary(&[(1, 1), (2, 1)], &[(1, 1), (2, 1)]);
        let one = summary(&[(1, 1), (2, 1)], &[(2, 1)]);
        assert_eq!(Way::between(Some(&both), Some(&one)), Way::Pull);
        assert_eq!(Way::between(Some(&one), Some(&both)), Way::Push);
    }
}
