//! Members for tests, and what nodes that do all they are asked report.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use annulus_ring::{
    Capacity, Evidence, HashSeed, Move, MoveReport, Node, NodeAddresses, NodeId, NodeReport,
    NodeState, PartitionCount, Placement, ReplicationFactor, Rules, Standing, Zone, found,
};
use uuid::Uuid;

pub(crate) const RULES: Rules = Rules {
    read_min: 2,
    write_min: 2,
};

pub(crate) fn node(number: usize, zone: usize) -> Node {
    let address = |port: u16| format!("node-{number}:{port}");
    // Ids in another order than names, as in life.
    let id = (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834);
    Node {
        id: NodeId(Uuid::from_u128(id)),
        name: format!("node-{number}"),
        addresses: NodeAddresses {
            peer: address(7400),
            grpc: address(7401),
            http: address(7402),
            admin: address(7403),
        },
        zone: Zone(format!("zone-{zone}")),
        capacity: Capacity::ONE,
        state: NodeState::Active,
    }
}

pub(crate) fn capacity(number: u32) -> Capacity {
    Capacity(NonZeroU32::new(number).unwrap())
}

pub(crate) fn equal_nodes(count: usize, zones: usize) -> Vec<Node> {
    (0..count)
        .map(|number| node(number, number % zones))
        .collect()
}

pub(crate) fn q(bits: u32) -> PartitionCount {
    PartitionCount::new(1 << bits).unwrap()
}

pub(crate) fn n(factor: u8) -> ReplicationFactor {
    ReplicationFactor::new(factor).unwrap()
}

pub(crate) fn founded(nodes: &[Node], partitions: PartitionCount, factor: u8) -> Placement {
    found(Uuid::nil(), HashSeed(1), partitions, n(factor), nodes).unwrap()
}

/// What a node reports of a move when all that can be done is done: who is `gone` answers nobody.
pub(crate) fn done(
    placement: &Placement,
    it: &Move,
    node: NodeId,
    gone: &BTreeSet<NodeId>,
) -> MoveReport {
    let index = placement.index_of(node).unwrap();
    let ids = |nodes: &mut dyn Iterator<Item = annulus_ring::NodeIndex>| -> Vec<NodeId> {
        let ids = nodes.map(|node| placement.node(node).id);
        ids.filter(|id| !gone.contains(id)).collect()
    };
    let mut report = MoveReport::new(it.id);
    if placement.syncers(it).any(|syncer| syncer == index) {
        let sources = ids(&mut placement.sync_sources(it, index, RULES.write_min).iter());
        report.ready = true;
        report.streamed.from.clone_from(&sources);
        report.verified = sources;
    }
    if it.remove == Some(index) {
        report.drained = ids(&mut placement.new_owners(it.partition()).iter());
        report.cleaned = true;
    }
    report
}

/// The evidence when every living node has done all that it can.
pub(crate) fn willing(placement: &Placement, gone: &BTreeSet<NodeId>) -> Evidence {
    let mut evidence = Evidence::default();
    for node in placement.nodes() {
        let mut report = NodeReport {
            standing: Standing::Alive,
            acked: placement.epoch(),
            moves: Vec::new(),
        };
        if gone.contains(&node.id) {
            report.standing = Standing::Destroyed;
            report.acked = annulus_ring::RingEpoch(0);
        }
        evidence.0.insert(node.id, report);
    }
    for it in placement.moves() {
        let holders: BTreeSet<NodeId> = placement
            .holders(it.partition())
            .map(|node| placement.node(node).id)
            .collect();
        for holder in holders.difference(gone) {
            let report = done(placement, it, *holder, gone);
            evidence.0.get_mut(holder).unwrap().moves.push(report);
        }
    }
    evidence
}

/// Vnodes by node.
pub(crate) fn held(placement: &Placement) -> BTreeMap<NodeId, usize> {
    let mut held: BTreeMap<NodeId, usize> =
        placement.nodes().iter().map(|node| (node.id, 0)).collect();
    for partition in placement.partitions().ids() {
        for owner in placement.owners(partition) {
            *held.get_mut(&placement.node(*owner).id).unwrap() += 1;
        }
    }
    held
}
