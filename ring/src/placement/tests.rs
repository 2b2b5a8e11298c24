use super::*;
use crate::moves::{MoveId, Stage};
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
fn document() -> PlacementDocument {
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

fn placement() -> Placement {
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

/// Of [`document`]: partition 0 (nodes 0 and 2) gives node 0's copy to 3, 1 (nodes 3 and 1) is to
/// lose 3, 2 (nodes 2 and 3) reads from 3 instead of 0 already.
fn with_moves() -> PlacementDocument {
    let it = |partition, add: Option<u16>, remove: Option<u16>, stage| Move {
        id: MoveId {
            epoch: RingEpoch(3),
            partition: PartitionId(partition),
        },
        add: add.map(NodeIndex),
        remove: remove.map(NodeIndex),
        stage,
        since: RingEpoch(4),
        lost: false,
    };
    PlacementDocument {
        moves: vec![
            it(0, Some(3), Some(0), Stage::Dual),
            it(1, None, Some(3), Stage::Verify),
            it(2, Some(3), Some(0), Stage::ReadNew),
        ],
        ..document()
    }
}

#[test]
fn moves_that_break_an_invariant_are_refused_by_name() {
    type Change = fn(&mut Vec<Move>);
    let fit = "the partition's owners must include who leaves before READ_NEW, who joins from \
               READ_NEW on, never both, and leave a place for the other";
    let rows: [(Change, String); 14] = [
        (
            |it| it.swap(0, 1),
            "e3-p0: moves are not ascending by partition, or this partition has two".into(),
        ),
        (
            |it| it[1].id.partition = PartitionId(0),
            "e3-p0: moves are not ascending by partition, or this partition has two".into(),
        ),
        (
            |it| it[2].id.partition = PartitionId(4),
            "e3-p4: there is no such partition".into(),
        ),
        (
            |it| it[1].remove = None,
            "e3-p1: it needs a node to add or a node to remove, and not the same".into(),
        ),
        (
            |it| it[0].add = it[0].remove,
            "e3-p0: it needs a node to add or a node to remove, and not the same".into(),
        ),
        (
            |it| it[0].add = Some(NodeIndex(4)),
            "e3-p0: node 4 is no node, there are 4".into(),
        ),
        (
            |it| it[0].since = RingEpoch(6),
            "e3-p0: it is of epoch 3, at its stage since 6, in a placement of 5".into(),
        ),
        (
            |it| it[0].id.epoch = RingEpoch(5),
            "e5-p0: it is of epoch 5, at its stage since 4, in a placement of 5".into(),
        ),
        (
            |it| (it[0].remove, it[0].lost) = (None, true),
            "e3-p0: its leaver is lost, but it has none".into(),
        ),
        (
            |it| it[1].stage = Stage::Stream,
            "e3-p1: a move that only adds or only removes has no stage STREAM".into(),
        ),
        (
            |it| it[0].remove = Some(NodeIndex(1)),
            format!("e3-p0: at stage DUAL {fit}"),
        ),
        (
            |it| it[0].add = Some(NodeIndex(2)),
            format!("e3-p0: at stage DUAL {fit}"),
        ),
        (
            |it| it[0].remove = None,
            format!("e3-p0: at stage DUAL {fit}"),
        ),
        (
            |it| it[0].stage = Stage::ReadNew,
            format!("e3-p0: at stage READ_NEW {fit}"),
        ),
    ];
    for (change, message) in rows {
        let mut document = with_moves();
        change(&mut document.moves);
        let error = Placement::try_from(document).unwrap_err();
        assert_eq!(error.to_string(), format!("move {message}"));
    }
    let full = document();
    let mut moves = vec![with_moves().moves[0]; MAX_MOVES + 1];
    moves.iter_mut().for_each(|it| it.remove = None);
    let error = Placement::try_from(PlacementDocument { moves, ..full }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2049 moves: at most 2048 can be under way"
    );
}

#[test]
fn vacant_places_are_only_at_the_end_of_a_row() {
    let mut short = document();
    short.owners[1] = NodeIndex::VACANT;
    let placement = Placement::try_from(short.clone()).unwrap();
    assert_eq!(placement.owners(PartitionId(0)), [NodeIndex(0)]);
    assert_eq!(PlacementDocument::from(&placement).owners, short.owners);
    for (place, owner) in [(0, NodeIndex::VACANT), (1, NodeIndex::VACANT)] {
        short.owners[place] = owner;
        short.owners[1 - place] = if place == 0 {
            NodeIndex(1)
        } else {
            NodeIndex::VACANT
        };
        let error = Placement::try_from(short.clone()).unwrap_err();
        assert_eq!(error, PlacementError::Vacancy(PartitionId(0)));
    }
}

#[test]
fn a_document_with_moves_survives_json_and_each_field_counts() {
    let placement = Placement::try_from(with_moves()).unwrap();
    let text = serde_json::to_string(&PlacementDocument::from(&placement)).unwrap();
    let json = r#""moves":[{"id":"e3-p0","add":3,"remove":0,"stage":"DUAL","since":4},"#;
    assert!(text.contains(json), "{text}");
    let read: PlacementDocument = serde_json::from_str(&text).unwrap();
    assert_eq!(Placement::try_from(read).unwrap(), placement);

    type Change = fn(&mut Move);
    let changes: [Change; 7] = [
        |_| (),
        |it| it.id.epoch = RingEpoch(2),
        |it| it.add = Some(NodeIndex(1)),
        |it| it.add = None,
        |it| it.stage = Stage::Stream,
        |it| it.since = RingEpoch(5),
        |it| it.lost = true,
    ];
    let mut fingerprints: HashSet<u64> = changes
        .iter()
        .map(|change| {
            let mut document = with_moves();
            change(&mut document.moves[0]);
            document.owners[1] = NodeIndex(2);
            Placement::try_from(document).unwrap().fingerprint()
        })
        .collect();
    fingerprints.insert(super::tests::placement().fingerprint());
    assert_eq!(fingerprints.len(), changes.len() + 1);
}

#[test]
fn sets_follow_the_stage() {
    let placement = Placement::try_from(with_moves()).unwrap();
    let numbers = |nodes: &mut dyn Iterator<Item = NodeIndex>| -> Vec<u16> {
        nodes.map(|node| node.0).collect()
    };
    let sets = |partition| -> Vec<Vec<u16>> {
        let sets = placement.write_sets(PartitionId(partition)).iter();
        sets.map(|set| {
            assert_eq!(set.iter().count(), set.len());
            assert!(
                placement
                    .node_indexes()
                    .all(|node| { set.contains(node) == set.iter().any(|owner| owner == node) })
            );
            numbers(&mut set.iter())
        })
        .collect()
    };
    let targets = |partition| numbers(&mut placement.write_sets(PartitionId(partition)).targets());
    let holders = |partition| numbers(&mut placement.holders(PartitionId(partition)));
    assert_eq!(
        sets(0),
        [vec![0, 2], vec![3, 2]],
        "the joiner is in the leaver's place"
    );
    assert_eq!(targets(0), [0, 2, 3]);
    assert_eq!(holders(0), [0, 2, 3]);
    assert_eq!(sets(1), [vec![3, 1], vec![1]]);
    assert_eq!(targets(1), [3, 1]);
    assert_eq!(holders(1), [3, 1]);
    assert_eq!(
        sets(2),
        [vec![2, 0], vec![2, 3]],
        "the row lists the new owners already"
    );
    assert_eq!(targets(2), [2, 0, 3]);
    assert_eq!(
        placement.readers(PartitionId(2)),
        [NodeIndex(2), NodeIndex(3)]
    );
    assert_eq!(holders(2), [2, 3, 0]);
    assert_eq!(sets(3), [vec![1, 2]]);
    assert_eq!(placement.move_of(PartitionId(3)), None);
    let held: Vec<u16> = placement
        .partitions_held_by(NodeIndex(0))
        .map(|p| p.0)
        .collect();
    assert_eq!(held, [0, 2]);
}

#[test]
fn sources_are_the_leaver_or_enough_survivors() {
    let mut document = with_moves();
    // Three copies of partition 0 on nodes 0 (leaves for 3), 1 and 2; two of partition 1.
    document.replication_factor = ReplicationFactor::new(3).unwrap();
    document.partitions = PartitionCount::new(2).unwrap();
    document.owners = [0, 1, 2, 3, 1, u16::MAX].map(NodeIndex).to_vec();
    document.moves.truncate(1);
    let sources = |lost: bool, remove: Option<u16>, write_min| {
        let mut document = document.clone();
        let it = &mut document.moves[0];
        (it.lost, it.remove) = (lost, remove.map(NodeIndex));
        if remove.is_none() {
            document.owners[2] = NodeIndex::VACANT;
        }
        let placement = Placement::try_from(document).unwrap();
        let it = placement.move_of(PartitionId(0)).unwrap();
        let sources = placement.sync_sources(it, NodeIndex(3), write_min);
        let from: Vec<u16> = sources.iter().map(|node| node.0).collect();
        (from, sources.at_least)
    };
    assert_eq!(sources(false, Some(0), 2), (vec![0], 1));
    assert_eq!(sources(true, Some(0), 2), (vec![1, 2], 2));
    assert_eq!(sources(true, Some(0), 3), (vec![1, 2], 1));
    assert_eq!(
        sources(true, Some(0), 1),
        (vec![1, 2], 2),
        "all that are left"
    );
    assert_eq!(sources(false, None, 2), (vec![0, 1], 1));
    assert_eq!(sources(false, None, 1), (vec![0, 1], 2));

    document.moves = vec![with_moves().moves[1]];
    document.moves[0].id.partition = PartitionId(0);
    document.moves[0].remove = Some(NodeIndex(0));
    for (lost, from, write_min, at_least) in [(false, 0, 2, 1), (true, 2, 2, 1), (true, 2, 3, 0)] {
        document.moves[0].lost = lost;
        let placement = Placement::try_from(document.clone()).unwrap();
        let it = placement.move_of(PartitionId(0)).unwrap();
        let syncers: Vec<u16> = placement.syncers(it).map(|node| node.0).collect();
        assert_eq!(syncers, [1, 2], "without a joiner, each new owner");
        let sources = placement.sync_sources(it, NodeIndex(1), write_min);
        assert_eq!(
            sources.iter().map(|node| node.0).collect::<Vec<_>>(),
            [from]
        );
        assert_eq!(sources.at_least, at_least);
    }
}
