//! How much of the ring each node and zone owns. Pure.

use std::collections::BTreeMap;

use annulus_ring::Placement;
use serde::Serialize;

use crate::admin::natural;

/// What a node or a zone owns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Share {
    /// The node's or the zone's name.
    pub(crate) name: String,
    /// A node's zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<String>,
    /// Vnodes owned.
    pub(crate) vnodes: usize,
    /// Partitions of which it is the preferred owner.
    pub(crate) preferred: usize,
    /// Its part of all vnodes, 0 to 1.
    #[serde(rename = "share")]
    pub(crate) part: f64,
}

/// Per node, in the order of names.
pub(crate) fn node_shares(placement: &Placement) -> Vec<Share> {
    let mut vnodes = vec![0; placement.nodes().len()];
    let mut preferred = vec![0; placement.nodes().len()];
    for partition in placement.partitions().ids() {
        let owners = placement.owners(partition);
        for owner in owners {
            vnodes[usize::from(owner.0)] += 1;
        }
        if let Some(first) = owners.first() {
            preferred[usize::from(first.0)] += 1;
        }
    }
    let all: usize = vnodes.iter().sum();
    let share = |(at, node): (usize, &annulus_ring::Node)| Share {
        name: node.name.clone(),
        zone: Some(node.zone.to_string()),
        vnodes: vnodes[at],
        preferred: preferred[at],
        part: vnodes[at] as f64 / all.max(1) as f64,
    };
    let mut shares: Vec<Share> = placement.nodes().iter().enumerate().map(share).collect();
    shares.sort_by(|one, other| natural(&one.name).cmp(&natural(&other.name)));
    shares
}

/// Per zone.
pub(crate) fn zone_shares(placement: &Placement) -> Vec<Share> {
    let mut zones: BTreeMap<String, Share> = BTreeMap::new();
    for node in node_shares(placement) {
        let name = node.zone.unwrap_or_default();
        let zone = zones.entry(name.clone()).or_insert(Share {
            name,
            zone: None,
            vnodes: 0,
            preferred: 0,
            part: 0.0,
        });
        zone.vnodes += node.vnodes;
        zone.preferred += node.preferred;
        zone.part += node.part;
    }
    zones.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::fixtures::founded;

    #[test]
    fn all_vnodes_and_all_partitions_are_counted_once() {
        let placement = founded(5);
        for shares in [node_shares(&placement), zone_shares(&placement)] {
            assert_eq!(
                shares.iter().map(|share| share.vnodes).sum::<usize>(),
                256 * 3
            );
            assert_eq!(
                shares.iter().map(|share| share.preferred).sum::<usize>(),
                256
            );
            let whole: f64 = shares.iter().map(|share| share.part).sum();
            assert!((whole - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn three_nodes_in_three_zones_own_a_third_each() {
        for share in zone_shares(&founded(3)) {
            assert_eq!(share.vnodes, 256);
        }
    }
}
