use std::collections::HashSet;

use super::*;
use crate::document::PlacementDocument;
use crate::epoch::RingEpoch;
use crate::node::NodeIndex;
use crate::partition::{PartitionCount, PartitionId, ReplicationFactor};
use crate::placement::tests::{document, placement as stable};
use crate::placement::{MAX_MOVES, Placement, PlacementError};

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
    for it in &mut moves {
        it.remove = None;
    }
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

type MoveEdit = fn(&mut Move);

#[test]
fn a_document_with_moves_survives_json_and_each_field_counts() {
    let placement = Placement::try_from(with_moves()).unwrap();
    let text = serde_json::to_string(&PlacementDocument::from(&placement)).unwrap();
    let json = r#""moves":[{"id":"e3-p0","add":3,"remove":0,"stage":"DUAL","since":4},"#;
    assert!(text.contains(json), "{text}");
    let read: PlacementDocument = serde_json::from_str(&text).unwrap();
    assert_eq!(Placement::try_from(read).unwrap(), placement);

    let changes: [MoveEdit; 7] = [
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
    fingerprints.insert(stable().fingerprint());
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
