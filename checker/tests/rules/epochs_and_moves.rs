//! C9 and C10.

use annulus_checker::Rule::{Epochs, MinimalMoves};
use annulus_checker::{NodeEpoch, OperationId, Record, Reply};
use annulus_ring::{
    Capacity, HashSeed, Node, NodeAddresses, NodeState, PartitionCount, Placement,
    PlacementDocument, ReplicationFactor, RingEpoch, Zone, found, plan,
};
use uuid::Uuid;

use crate::scenario::{FAULTY, breaks, dot, holds, node, put, records};

/// Nodes 1 to `count`, equal, in one zone.
pub(crate) fn nodes(count: u128) -> Vec<Node> {
    let address = |number, port| format!("node-{number}:{port}");
    let one = |number| Node {
        id: node(number),
        name: format!("node-{number}"),
        addresses: NodeAddresses {
            peer: address(number, 1),
            grpc: address(number, 2),
            http: address(number, 3),
            admin: address(number, 4),
        },
        zone: Zone::from("a"),
        capacity: Capacity::ONE,
        state: NodeState::Active,
    };
    (1..=count).map(one).collect()
}

fn numbers() -> (PartitionCount, ReplicationFactor) {
    let factor = ReplicationFactor::new(3).expect("3 is a factor");
    (PartitionCount::new(64).expect("a power of two"), factor)
}

pub(crate) fn placement_of(nodes: &[Node]) -> Placement {
    let (partitions, factor) = numbers();
    found(Uuid::from_u128(7), HashSeed(1), partitions, factor, nodes).expect("it can be founded")
}

fn record(placement: &Placement) -> Record {
    Record::Placement(Box::new(placement.into()))
}

fn epoch(number: u128, epoch: u64, fingerprint: Option<u64>) -> Record {
    Record::NodeEpoch(NodeEpoch {
        node: node(number),
        at_us: 0,
        epoch: RingEpoch(epoch),
        fingerprint,
    })
}

#[test]
fn a_node_goes_back() {
    holds(
        vec![epoch(1, 3, None), epoch(2, 2, None), epoch(1, 3, None)],
        FAULTY,
    );
    breaks(
        Epochs,
        vec![epoch(1, 3, None), epoch(2, 2, None), epoch(1, 2, None)],
        FAULTY,
    );
}

#[test]
fn an_epoch_has_two_contents() {
    let placement = placement_of(&nodes(3));
    let right = epoch(1, 1, Some(placement.fingerprint()));
    let wrong = || epoch(2, 1, Some(placement.fingerprint() ^ 1));
    holds(vec![record(&placement), right.clone()], FAULTY);
    breaks(Epochs, vec![record(&placement), wrong()], FAULTY);
    breaks(Epochs, vec![right, wrong()], FAULTY);
}

#[test]
fn a_reply_from_outside_of_the_placement_counts() {
    let placement = placement_of(&nodes(5));
    let (_, owners) = placement.locate("kv", b"k");
    let at = |number, epoch| {
        let mut history = records![put(1, 0, &[], dot(1, 1))];
        history.push(record(&placement));
        history.push(Record::Reply(Reply {
            operation: OperationId(1),
            node: node(number),
            epoch: RingEpoch(epoch),
        }));
        history
    };
    for number in 1..=6 {
        let index = placement.index_of(node(number));
        if index.is_some_and(|index| owners.contains(&index)) {
            holds(at(number, 1), FAULTY);
        } else {
            breaks(Epochs, at(number, 1), FAULTY);
            holds(at(number, 2), FAULTY); // that epoch's placement is not recorded
        }
    }
}

#[test]
fn a_join_moves_what_it_has_to() {
    let before = placement_of(&nodes(4));
    let (partitions, factor) = numbers();
    let plan = plan(Some(&before), &nodes(5), partitions, factor).expect("there is a plan");
    let after = plan
        .into_placement(before.cluster_id(), before.hash_seed(), RingEpoch(2))
        .expect("it is a placement");
    holds(vec![record(&after), record(&before)], FAULTY);

    // Founded anew with five nodes: as even, and nearly everything has moved.
    let mut anew = PlacementDocument::from(&placement_of(&nodes(5)));
    (anew.epoch, anew.fingerprint) = (RingEpoch(2), None);
    let anew = Placement::try_from(anew).expect("it is a placement");
    breaks(MinimalMoves, vec![record(&before), record(&anew)], FAULTY);
}
