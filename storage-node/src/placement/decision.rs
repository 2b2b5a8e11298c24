//! Whether an offered placement is taken: pure.

use annulus_ring::{Placement, RingEpoch};
use uuid::Uuid;

/// What to do with a placement that may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is newer: persist it, then act on it.
    Install,
    /// It is the one held.
    Held,
}

/// Why an offered placement is refused. The one held stays; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlacementRefused {
    /// It is older than the one held: whoever offers it should fetch the newer.
    #[error("placement of epoch {offered} is older than epoch {held}, which this node holds")]
    Older {
        /// The offered epoch.
        offered: RingEpoch,
        /// The epoch held.
        held: RingEpoch,
    },
    /// Two writers made different placements for one epoch: a person should look.
    #[error(
        "two placements of epoch {epoch} exist, with fingerprints {held:016x} (held) and \
         {offered:016x} (offered); find who else writes placements, then install a later epoch"
    )]
    SameEpochOtherContent {
        /// The epoch of both.
        epoch: RingEpoch,
        /// Fingerprint of the one held.
        held: u64,
        /// Fingerprint of the one offered.
        offered: u64,
    },
    /// The node's data belongs to another cluster.
    #[error("placement is of cluster {offered}, this node's data belongs to cluster {held}")]
    OtherCluster {
        /// The offered placement's cluster.
        offered: Uuid,
        /// This node's cluster.
        held: Uuid,
    },
    /// It changes what must never change: every key would be looked for in the wrong place.
    #[error("placement changes the ring's {field}, which is fixed when the ring is founded")]
    Immutable {
        /// The field.
        field: &'static str,
    },
    /// Epochs count from 1.
    #[error("placement has epoch 0; epochs count from 1")]
    NoEpoch,
}

/// Decides. `cluster` is the cluster that the node's data belongs to, once known.
pub(crate) fn decide(
    held: Option<&Placement>,
    cluster: Option<Uuid>,
    offered: &Placement,
) -> Result<Decision, PlacementRefused> {
    if offered.epoch() < RingEpoch::FIRST {
        return Err(PlacementRefused::NoEpoch);
    }
    let cluster = held.map(Placement::cluster_id).or(cluster);
    if let Some(held) = cluster.filter(|held| *held != offered.cluster_id()) {
        return Err(PlacementRefused::OtherCluster {
            offered: offered.cluster_id(),
            held,
        });
    }
    let Some(held) = held else {
        return Ok(Decision::Install);
    };
    if offered.epoch() < held.epoch() {
        return Err(PlacementRefused::Older {
            offered: offered.epoch(),
            held: held.epoch(),
        });
    }
    if offered.epoch() == held.epoch() {
        return same_epoch(held, offered);
    }
    if offered.hash_seed() != held.hash_seed() {
        return Err(PlacementRefused::Immutable { field: "hash seed" });
    }
    if offered.partitions() != held.partitions() {
        return Err(PlacementRefused::Immutable {
            field: "number of partitions",
        });
    }
    Ok(Decision::Install)
}

fn same_epoch(held: &Placement, offered: &Placement) -> Result<Decision, PlacementRefused> {
    let (held, offered, epoch) = (held.fingerprint(), offered.fingerprint(), held.epoch());
    if held == offered {
        Ok(Decision::Held)
    } else {
        Err(PlacementRefused::SameEpochOtherContent {
            epoch,
            held,
            offered,
        })
    }
}

#[cfg(test)]
mod tests {
    use annulus_ring::{HashSeed, PartitionCount, PlacementDocument};

    use super::*;
    use crate::placement::store::tests::placement_of;

    fn changed(from: &Placement, change: impl FnOnce(&mut PlacementDocument)) -> Placement {
        let mut document = PlacementDocument::from(from);
        document.fingerprint = None;
        change(&mut document);
        Placement::try_from(document).unwrap()
    }

    #[test]
    fn only_the_next_epochs_of_the_same_ring_are_taken() {
        let held = placement_of(3, 5);
        let offer = |offered: &Placement| decide(Some(&held), None, offered);
        assert_eq!(offer(&held), Ok(Decision::Held));
        assert_eq!(
            offer(&changed(&held, |d| d.epoch.0 = 6)),
            Ok(Decision::Install)
        );
        assert_eq!(
            offer(&changed(&held, |d| d.epoch.0 = 9)),
            Ok(Decision::Install)
        );
        let older = offer(&changed(&held, |d| d.epoch.0 = 4));
        assert!(matches!(older, Err(PlacementRefused::Older { .. })));
        let twin = offer(&changed(&held, |d| d.nodes[0].name = "other".into()));
        assert!(matches!(
            twin,
            Err(PlacementRefused::SameEpochOtherContent { .. })
        ));
        let foreign = offer(&changed(&held, |d| d.cluster_id = Uuid::from_u128(77)));
        assert!(matches!(
            foreign,
            Err(PlacementRefused::OtherCluster { .. })
        ));
        let seed = offer(&changed(&held, |d| {
            (d.epoch.0, d.hash_seed) = (6, HashSeed(99));
        }));
        assert_eq!(
            seed,
            Err(PlacementRefused::Immutable { field: "hash seed" })
        );
        let partitions = offer(&changed(&held, |d| {
            d.epoch.0 = 6;
            d.partitions = PartitionCount::new(2 * d.partitions.get()).unwrap();
            d.owners = [d.owners.clone(), d.owners.clone()].concat();
        }));
        assert_eq!(
            partitions,
            Err(PlacementRefused::Immutable {
                field: "number of partitions"
            })
        );
    }

    #[test]
    fn the_first_placement_must_fit_the_data() {
        let offered = placement_of(3, 1);
        assert_eq!(decide(None, None, &offered), Ok(Decision::Install));
        assert_eq!(
            decide(None, Some(offered.cluster_id()), &offered),
            Ok(Decision::Install)
        );
        let other = decide(None, Some(Uuid::from_u128(77)), &offered);
        assert!(matches!(other, Err(PlacementRefused::OtherCluster { .. })));
        assert_eq!(
            decide(None, None, &placement_of(3, 0)),
            Err(PlacementRefused::NoEpoch)
        );
    }
}
