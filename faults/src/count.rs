//! Counts the copies from outside, through the admin API: whether all owners of every partition list the same keys
//! with the same digests.

use annulus_ring::{NodeId, PartitionId};
use anyhow::{Context as _, Result};

use crate::admin::{self, KeyDigests};
use crate::ring::Ring;

/// What the owners list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Keys, each counted once.
    pub(crate) keys: usize,
    /// Keys that not all owners list, or not with the same digest.
    pub(crate) different: usize,
}

/// Asks all owners of all partitions.
pub(crate) async fn count(ring: &Ring) -> Result<Count> {
    let mut count = Count::default();
    for partition in ring.placement.partitions().ids() {
        let mut lists = Vec::new();
        for owner in ring.placement.owners(partition) {
            let node = ring.placement.node(*owner);
            lists.push(list(ring, node.id, partition).await?);
        }
        count.add(&lists);
    }
    Ok(count)
}

async fn list(ring: &Ring, node: NodeId, partition: PartitionId) -> Result<KeyDigests> {
    let place = (0..ring.size()).find(|place| ring.id(*place) == node);
    let address = &ring
        .site
        .addresses(place.context("an owner is no node")?)
        .admin;
    admin::digests(address, partition).await
}

impl Count {
    fn add(&mut self, lists: &[KeyDigests]) {
        let mut keys: Vec<_> = lists.iter().flat_map(KeyDigests::keys).collect();
        keys.sort_unstable();
        keys.dedup();
        let is_different = |key: &&_| {
            let mut digests = lists.iter().map(|list| list.get(*key));
            let first = digests.next().flatten();
            first.is_none() || digests.any(|digest| digest != first)
        };
        self.keys += keys.len();
        self.different += keys.into_iter().filter(is_different).count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(of: &[(&str, u64)]) -> KeyDigests {
        let entry =
            |(key, digest): &(&str, u64)| (("kv".to_owned(), key.as_bytes().to_vec()), *digest);
        of.iter().map(entry).collect()
    }

    #[test]
    fn a_key_that_one_owner_lacks_or_has_otherwise_is_different() {
        let mut count = Count::default();
        let whole = list(&[("a", 1), ("b", 2), ("c", 3)]);
        count.add(&[whole.clone(), whole.clone()]);
        assert_eq!((count.keys, count.different), (3, 0));
        count.add(&[list(&[("a", 1), ("b", 9)]), whole]);
        assert_eq!((count.keys, count.different), (6, 2));
        count.add(&[list(&[("a", 1)]), list(&[])]);
        assert_eq!((count.keys, count.different), (7, 3));
    }
}
