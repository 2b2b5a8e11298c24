use super::*;
use crate::node::{Capacity, NodeAddresses, NodeState, Zone};

fn node(number: u16, zone: &str) -> Node {
    let address = |port: u16| format!("node-{number}:{port}");
    Node {
        id: NodeId(Uuid::from_u128(u128::from(number) + 1)),
        name: format!("node-{number}"),
        addresses: NodeAddresses {
            peer: address(7400),
            grpc: address(7401),
            http: address(7402),
            admin: address(7403),
        },
        zone: Zone::from(zone),
        capacity: Capacity::ONE,
        state: NodeState::Active,
    }
}

/// Four partitions, two copies; nodes 0 and 1 in zone a, 2 in b, 3 in c.
pub(crate) fn document() -> PlacementDocument {
    PlacementDocument {
        cluster_id: Uuid::from_u128(77),
        epoch: RingEpoch(5),
        hash_seed: HashSeed(0xfeed),
        partitions: PartitionCount::new(4).unwrap(),
        replication_factor: ReplicationFactor::new(2).unwrap(),
        nodes: vec![node(0, "a"), node(1, "a"), node(2, "b"), node(3, "c")],
        owners: [0, 2, 3, 1, 2, 3, 1, 2].map(NodeIndex).to_vec(),
        moves: Vec::new(),
        fingerprint: None,
    }
}

pub(crate) fn placement() -> Placement {
    document().try_into().unwrap()
}

#[track_caller]
fn assert_refused(change: impl FnOnce(&mut PlacementDocument), message: &str) {
    let mut document = document();
    change(&mut document);
    assert_eq!(
        Placement::try_from(document).unwrap_err().to_string(),
        message
    );
}

#[test]
fn documents_that_break_an_invariant_are_refused_by_name() {
    assert_refused(
        |it| it.owners[3] = NodeIndex(4),
        "partition 1: owner 4 is no node, there are 4",
    );
    assert_refused(
        |it| it.owners[3] = NodeIndex(3),
        "partition 1: node 00000000-0000-0000-0000-000000000004 is listed twice among its owners",
    );
    assert_refused(
        |it| it.owners.truncate(7),
        "7 owners: expected 8, the replication factor for each partition",
    );
    assert_refused(
        |it| it.nodes.swap(1, 2),
        "node 00000000-0000-0000-0000-000000000002 is listed twice or not in ascending order of ids",
    );
    assert_refused(
        |it| it.nodes[2].name = it.nodes[0].name.clone(),
        "node 00000000-0000-0000-0000-000000000003: the name \"node-0\" is taken by another node",
    );
    assert_refused(
        |it| it.nodes[0].addresses.http = "node-0".into(),
        "node 00000000-0000-0000-0000-000000000001: addresses.http is \"node-0\", expected host:port",
    );
    assert_refused(
        |it| it.nodes[0].zone = Zone::from(""),
        "node 00000000-0000-0000-0000-000000000001: zone is \"\", expected some text",
    );
    assert_refused(
        |it| it.nodes = (0..=1024).map(|number| node(number, "a")).collect(),
        "1025 nodes: at most 1024 are supported",
    );
    let fingerprint = placement().fingerprint();
    assert_refused(
        |it| it.fingerprint = Some(1),
        &format!(
            "the fingerprint is {fingerprint:016x}, but the document states 0000000000000001: \
             it was edited, damaged, or written by a newer version"
        ),
    );
}

#[test]
fn a_document_survives_json_and_refuses_a_changed_owner() {
    let placement = placement();
    let text = serde_json::to_string(&PlacementDocument::from(&placement)).unwrap();
    assert!(text.contains("\"hashSeed\":\"000000000000feed\""), "{text}");
    let read: PlacementDocument = serde_json::from_str(&text).unwrap();
    assert_eq!(Placement::try_from(read).unwrap(), placement);

    let edited = text.replace("[0,2,3,1,", "[0,3,3,1,");
    assert_ne!(edited, text);
    let read: PlacementDocument = serde_json::from_str(&edited).unwrap();
    let error = Placement::try_from(read).unwrap_err();
    assert!(
        matches!(error, PlacementError::Fingerprint { .. }),
        "{error}"
    );
}

#[test]
fn the_fingerprint_covers_every_field() {
    type Change = fn(&mut PlacementDocument);
    let changes: [Change; 15] = [
        |_| (),
        |it| it.cluster_id = Uuid::from_u128(78),
        |it| it.epoch = RingEpoch(6),
        |it| it.hash_seed = HashSeed(1),
        |it| it.owners.swap(0, 1),
        |it| it.nodes[0].id = NodeId(Uuid::from_u128(0)),
        |it| it.nodes[0].name.push('x'),
        |it| it.nodes[0].addresses.peer.insert(0, 'x'),
        |it| it.nodes[0].addresses.grpc.insert(0, 'x'),
        |it| it.nodes[0].addresses.http.insert(0, 'x'),
        |it| it.nodes[0].addresses.admin.insert(0, 'x'),
        |it| it.nodes[0].zone.0.push('x'),
        |it| it.nodes[0].capacity = Capacity(std::num::NonZeroU32::new(2).unwrap()),
        |it| it.nodes[0].state = NodeState::Draining,
        |it| {
            it.partitions = PartitionCount::new(8).unwrap();
            it.replication_factor = ReplicationFactor::new(1).unwrap();
        },
    ];
    let fingerprints: HashSet<u64> = changes
        .iter()
        .map(|change| {
            let mut document = document();
            change(&mut document);
            Placement::try_from(document).unwrap().fingerprint()
        })
        .collect();
    assert_eq!(fingerprints.len(), changes.len());
}

/// All nodes of all versions must agree on this value: a new encoding gets a new name.
#[test]
fn the_fingerprint_is_a_stable_format() {
    assert_eq!(
        format!("{:016x}", placement().fingerprint()),
        "ad7be1662748754f"
    );
}

#[test]
fn accessors_agree_with_the_lists() {
    let placement = placement();
    let index = placement.index_of(NodeId(Uuid::from_u128(3))).unwrap();
    assert_eq!(placement.node(index).name, "node-2");
    assert_eq!(placement.index_of(NodeId(Uuid::from_u128(9))), None);
    let vnodes: Vec<u16> = placement
        .partitions_of(index)
        .map(|partition| partition.0)
        .collect();
    assert_eq!(vnodes, [0, 2, 3]);
    let (partition, owners) = placement.locate("default", b"k");
    assert_eq!(owners, placement.owners(partition));
    assert!(
        owners
            .iter()
            .all(|owner| placement.is_owner(partition, *owner))
    );
}

#[test]
fn fallbacks_are_the_other_active_nodes_new_zones_first() {
    let placement = placement();
    let of = |partition| -> Vec<u16> {
        placement
            .fallbacks(PartitionId(partition))
            .map(|index| index.0)
            .collect()
    };
    assert_eq!(of(0), [3, 1], "zone c has no owner yet, zone a has");
    assert_eq!(of(3), [3, 0]);
    let mut draining = document();
    draining.nodes[3].state = NodeState::Draining;
    let placement = Placement::try_from(draining).unwrap();
    let left: Vec<_> = placement.fallbacks(PartitionId(0)).collect();
    assert_eq!(left, [NodeIndex(1)]);
}

/// The API server takes objects up to 1.5 MiB; the largest placement stays far below.
#[test]
fn the_largest_document_is_far_below_a_mebibyte() {
    let host = |number: u16| format!("annulus-production-{number}.annulus-peers.databases.svc");
    let nodes = (0..1000).map(|number| {
        let mut node = node(number, "europe-west1-b");
        node.addresses = NodeAddresses {
            peer: format!("{}:7400", host(number)),
            grpc: format!("{}:7401", host(number)),
            http: format!("{}:7402", host(number)),
            admin: format!("{}:7403", host(number)),
        };
        node
    });
    let partitions = PartitionCount::new(PartitionCount::MAX).unwrap();
    let document = PlacementDocument {
        partitions,
        replication_factor: ReplicationFactor::new(3).unwrap(),
        nodes: nodes.collect(),
        owners: (0..16_384 * 3u32)
            .map(|at| NodeIndex(u16::try_from(at % 1000).unwrap()))
            .collect(),
        ..document()
    };
    let placement = Placement::try_from(document).unwrap();
    let text = serde_json::to_string(&PlacementDocument::from(&placement)).unwrap();
    assert!(text.len() < 768 * 1024, "{} bytes", text.len());
    let read: PlacementDocument = serde_json::from_str(&text).unwrap();
    assert_eq!(Placement::try_from(read).unwrap(), placement);
}
