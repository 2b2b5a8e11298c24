//! The KVNode: what was decided and learned of one node.

use crate::cluster_controller::build::{NodeSource, cluster_owner, node_meta};
use crate::cluster_controller::validate::ValidCluster;
use crate::crd::{KVNode, KVNodeSpec};

pub(super) fn node(cluster: &ValidCluster, source: &NodeSource<'_>) -> KVNode {
    let mut metadata = node_meta(cluster, source);
    metadata.owner_references = Some(vec![cluster_owner(cluster)]);
    let spec = KVNodeSpec {
        cluster: cluster.name.clone(),
        pool: source.seat.pool.clone(),
        ordinal: source.seat.ordinal,
        capacity: i32::try_from(source.seat.capacity).unwrap_or(i32::MAX),
        image: image(cluster, source),
        desired_state: source.record.desired_state,
        zone: source.record.zone.clone(),
        node_id: source.record.node_id.clone(),
        claim: source.record.claim.clone(),
    };
    KVNode {
        metadata,
        spec,
        status: None,
    }
}

/// The user's image; without one, whatever the node was made with. A new operator with a new
/// default image thus changes no node that exists.
fn image(cluster: &ValidCluster, source: &NodeSource<'_>) -> String {
    cluster
        .image
        .clone()
        .or_else(|| source.record.image.clone())
        .unwrap_or_else(|| cluster.default_image.clone())
}
