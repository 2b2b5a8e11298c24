//! What the ring can do with the nodes that serve, and how well it is spread.

use std::collections::BTreeSet;

use annulus_ring::{NodeId, Placement, partitions_below};

use crate::names::NO_ZONE;

/// How many partitions lack something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Availability {
    /// Partitions in all.
    pub(crate) partitions: usize,
    /// Partitions that cannot serve their default quorum.
    pub(crate) below_quorum: usize,
    /// Partitions of which not every copy serves.
    pub(crate) below_full: usize,
}

/// Asks the ring what it can do when only the nodes in `serving` are there.
pub(crate) fn availability(
    ring: &Placement,
    serving: &BTreeSet<NodeId>,
    quorum: usize,
) -> Availability {
    let absent: Vec<NodeId> = ring
        .nodes()
        .iter()
        .map(|node| node.id)
        .filter(|id| !serving.contains(id))
        .collect();
    let below = |needed| partitions_below(ring, &absent, needed).count();
    Availability {
        partitions: ring.partitions().ids().len(),
        below_quorum: below(quorum),
        below_full: below(usize::from(ring.replication_factor().get())),
    }
}

/// How copies are spread over zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ZoneSpread {
    /// Zones that are known by name.
    pub(crate) zones: usize,
    /// Partitions whose copies are in fewer zones than they could be.
    pub(crate) crowded: usize,
}

/// Counts the partitions that do not make use of all the zones that they could.
pub(crate) fn zone_spread(ring: &Placement) -> ZoneSpread {
    let known: BTreeSet<&str> = ring
        .nodes()
        .iter()
        .map(|node| node.zone.0.as_str())
        .filter(|zone| *zone != NO_ZONE)
        .collect();
    let zones: BTreeSet<&str> = ring
        .nodes()
        .iter()
        .map(|node| node.zone.0.as_str())
        .collect();
    let possible = zones
        .len()
        .min(usize::from(ring.replication_factor().get()));
    let crowded = ring
        .partitions()
        .ids()
        .filter(|partition| {
            let used: BTreeSet<&str> = ring
                .owners(*partition)
                .iter()
                .map(|owner| ring.node(*owner).zone.0.as_str())
                .collect();
            used.len() < possible
        })
        .count();
    ZoneSpread {
        zones: known.len(),
        crowded,
    }
}
