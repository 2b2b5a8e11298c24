//! The first placement of a cluster.

use std::num::NonZeroU32;

use annulus_ring::{
    Capacity, HashSeed, InvalidPartitionCount, InvalidReplicationFactor, Node, NodeAddresses,
    NodeState, PartitionCount, Placement, PlanError, ReplicationFactor, Zone,
};
use thiserror::Error;
use uuid::Uuid;

use crate::membership::step::Founder;
use crate::membership::view::Desired;
use crate::names;

/// Why no ring can be founded. Nothing was changed.
#[derive(Debug, Error)]
pub(crate) enum FoundingError {
    /// Not a number of partitions.
    #[error(transparent)]
    Partitions(#[from] InvalidPartitionCount),
    /// Not a number of copies.
    #[error(transparent)]
    Copies(#[from] InvalidReplicationFactor),
    /// The nodes cannot carry such a ring.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Makes the first placement. `cluster_id` and `seed` are random.
pub(crate) fn found(
    founders: &[Founder],
    desired: &Desired,
    cluster_id: Uuid,
    seed: u64,
) -> Result<Placement, FoundingError> {
    let nodes: Vec<Node> = founders
        .iter()
        .map(|founder| node(&desired.cluster, &desired.namespace, founder))
        .collect();
    Ok(annulus_ring::found(
        cluster_id,
        HashSeed(seed),
        PartitionCount::new(desired.partitions)?,
        ReplicationFactor::new(desired.replication_factor)?,
        &nodes,
    )?)
}

/// The member that a node becomes.
pub(super) fn node(cluster: &str, namespace: &str, founder: &Founder) -> Node {
    let host = names::node_host(cluster, namespace, &founder.name);
    let address = |port: i32| format!("{host}:{port}");
    Node {
        id: founder.id,
        name: founder.name.clone(),
        addresses: NodeAddresses {
            grpc: address(names::GRPC_PORT),
            http: address(names::HTTP_PORT),
            peer: address(names::PEER_PORT),
            admin: address(names::ADMIN_PORT),
        },
        zone: Zone(founder.zone.clone()),
        capacity: Capacity(NonZeroU32::new(founder.capacity).unwrap_or(NonZeroU32::MIN)),
        state: NodeState::Active,
    }
}
