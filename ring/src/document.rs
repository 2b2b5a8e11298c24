//! The placement as a document: what `KVRing`, `GetRing` and the files of `annulus dev` hold.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::epoch::RingEpoch;
use crate::moves::Move;
use crate::node::{Node, NodeIndex};
use crate::partition::{PartitionCount, ReplicationFactor};
use crate::placement::{Placement, PlacementError};
use crate::token::HashSeed;

/// Plain content of a [`Placement`]: camelCase in JSON, not yet validated as a whole.
/// `Placement::try_from(document)` is the only way to a placement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacementDocument {
    /// The cluster it belongs to.
    pub cluster_id: Uuid,
    /// Its version.
    pub epoch: RingEpoch,
    /// Key of the key hash.
    pub hash_seed: HashSeed,
    /// Q.
    pub partitions: PartitionCount,
    /// N.
    pub replication_factor: ReplicationFactor,
    /// The members, ascending by id.
    pub nodes: Vec<Node>,
    /// Owners as positions in `nodes`: N for partition 0, N for partition 1, and so on. Places
    /// that nobody has, at a row's end, hold [`NodeIndex::VACANT`].
    pub owners: Vec<NodeIndex>,
    /// The moves under way, ascending by partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Move>,
    /// [`Placement::fingerprint`], checked where it is present: tells an edited or damaged
    /// document, and one with parts that this version does not know.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "crate::fingerprint::hex64::option"
    )]
    pub fingerprint: Option<u64>,
}

impl From<&Placement> for PlacementDocument {
    fn from(placement: &Placement) -> Self {
        Self {
            cluster_id: placement.cluster_id(),
            epoch: placement.epoch(),
            hash_seed: placement.hash_seed(),
            partitions: placement.partitions(),
            replication_factor: placement.replication_factor(),
            nodes: placement.nodes().to_vec(),
            owners: placement.all_owners().to_vec(),
            moves: placement.moves().to_vec(),
            fingerprint: Some(placement.fingerprint()),
        }
    }
}

impl From<Placement> for PlacementDocument {
    fn from(placement: Placement) -> Self {
        Self::from(&placement)
    }
}

impl TryFrom<PlacementDocument> for Placement {
    type Error = PlacementError;

    fn try_from(document: PlacementDocument) -> Result<Self, Self::Error> {
        let stated = document.fingerprint;
        let placement = Self::validated(document)?;
        match stated {
            Some(stated) if stated != placement.fingerprint() => Err(PlacementError::Fingerprint {
                stated,
                actual: placement.fingerprint(),
            }),
            _ => Ok(placement),
        }
    }
}
