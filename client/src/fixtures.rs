//! Placements for tests.

use annulus_ring::{
    Capacity, HashSeed, Node, NodeAddresses, NodeId, NodeState, PartitionCount, Placement,
    PlacementDocument, ReplicationFactor, RingEpoch, Zone, found,
};
use uuid::Uuid;

/// `count` equal nodes in three zones, at this epoch.
pub(crate) fn placement(count: u32, epoch: u64) -> Placement {
    let nodes: Vec<Node> = (0..count).map(node).collect();
    let founded = found(
        Uuid::from_u128(9),
        HashSeed(7),
        PartitionCount::new(64).unwrap(),
        ReplicationFactor::new(3).unwrap(),
        &nodes,
    )
    .unwrap();
    let mut document = PlacementDocument::from(founded);
    document.epoch = RingEpoch(epoch);
    document.fingerprint = None;
    document.try_into().unwrap()
}

fn node(number: u32) -> Node {
    let address = |port: u32| format!("127.0.0.1:{}", 9600 + 100 * number + port);
    Node {
        id: NodeId(Uuid::from_u128(u128::from(number) + 1)),
        name: format!("node-{number}"),
        addresses: NodeAddresses {
            grpc: address(0),
            http: address(1),
            peer: address(2),
            admin: address(3),
        },
        zone: Zone(format!("z{}", number % 3 + 1)),
        capacity: Capacity::ONE,
        state: NodeState::Active,
    }
}
