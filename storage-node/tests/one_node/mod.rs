//! A ring of one node that owns everything: for tests and benchmarks of a replica by itself.

use annulus_ring::{
    Capacity, HashSeed, Node, NodeAddresses, NodeId, NodeState, PartitionCount, Placement,
    ReplicationFactor, Zone, found,
};
use uuid::Uuid;

/// Its placement. `partitions`: a power of two.
pub(crate) fn placement(id: NodeId, partitions: u32) -> Placement {
    let node = Node {
        id,
        name: "one".to_owned(),
        addresses: NodeAddresses {
            peer: "one:9602".to_owned(),
            grpc: "one:9600".to_owned(),
            http: "one:9601".to_owned(),
            admin: "one:9603".to_owned(),
        },
        zone: Zone::from("a"),
        capacity: Capacity::ONE,
        state: NodeState::Active,
    };
    let (partitions, one) = (
        PartitionCount::new(partitions).expect("is a power of two"),
        ReplicationFactor::new(1).expect("is not 0"),
    );
    found(Uuid::from_u128(9), HashSeed(7), partitions, one, &[node]).expect("is a placement")
}
