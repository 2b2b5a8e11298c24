//! Who owns what, as the `KVRing` says.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::kvcluster::{KvCluster, annulus_api};

/// Owners by partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owners {
    /// Names of the members.
    pub members: BTreeSet<String>,
    /// Names of the owners, by partition.
    pub of: Vec<BTreeSet<String>>,
}

impl Owners {
    /// Reads the ring of a cluster, in which nothing may move.
    pub async fn read(cluster: &KvCluster) -> Result<Self> {
        let ring = annulus_api(cluster.namespace(), "KVRing")
            .get(cluster.name())
            .await
            .context("get the KVRing")?;
        Self::from_spec(&ring.data["spec"])
    }

    fn from_spec(spec: &Value) -> Result<Self> {
        let moves = spec["moves"].as_array();
        ensure!(moves.is_none_or(Vec::is_empty), "moves are left: {spec}");
        let nodes = spec["nodes"].as_array().context("the ring has no nodes")?;
        let names = nodes.iter().map(|node| node["name"].as_str());
        let names: Option<Vec<&str>> = names.collect();
        let names = names.context("a node has no name")?;
        let owners = spec["owners"].as_str().context("the ring has no owners")?;
        let row = |row: &str| {
            let names = row.split(',').map(|owner| {
                let owner: usize = owner.parse().context("an owner is a number")?;
                let name = names.get(owner).context("an owner is no node")?;
                Ok((*name).to_owned())
            });
            names.collect::<Result<BTreeSet<String>>>()
        };
        Ok(Self {
            members: names.iter().map(|name| (*name).to_owned()).collect(),
            of: owners.split(' ').map(row).collect::<Result<_>>()?,
        })
    }

    /// How many partitions each member owns.
    pub fn vnodes(&self) -> BTreeMap<&str, usize> {
        let none = self.members.iter().map(|name| (name.as_str(), 0));
        let mut counts: BTreeMap<&str, usize> = none.collect();
        for owner in self.of.iter().flatten() {
            *counts.entry(owner).or_default() += 1;
        }
        counts
    }

    /// Owners that the other has and this has not, with their partitions.
    pub fn gained<'a>(&'a self, after: &'a Self) -> Vec<(usize, &'a str)> {
        let both = self.of.iter().zip(&after.of).enumerate();
        both.flat_map(|(partition, (before, after))| {
            let new = after.difference(before);
            new.map(move |owner| (partition, owner.as_str()))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Owners;

    fn ring(owners: &str) -> Owners {
        let nodes = json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]);
        Owners::from_spec(&json!({"nodes": nodes, "owners": owners})).unwrap()
    }

    #[test]
    fn owners_are_counted_and_compared() {
        let (before, after) = (ring("0,1 1,0"), ring("0,1 2,1"));
        assert_eq!(after.vnodes(), [("a", 1), ("b", 2), ("c", 1)].into());
        assert_eq!(before.gained(&after), [(1, "c")]);
        assert_eq!(after.gained(&before), [(1, "a")]);
    }
}
