//! The KVRing: the placement as an object.

use annulus_ring::Placement;

use crate::cluster_controller::build::cluster_meta;
use crate::cluster_controller::validate::ValidCluster;
use crate::crd::{KVRing, KVRingSpec};

pub(crate) fn ring(cluster: &ValidCluster, placement: &Placement) -> KVRing {
    KVRing {
        metadata: cluster_meta(cluster, cluster.name.clone()),
        spec: KVRingSpec::from(placement),
    }
}
