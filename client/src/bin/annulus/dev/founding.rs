//! The placement of a local ring: what to do next, from what is on disk and what the nodes say.
//! Here the command plays the operator, with the same planner. Pure.

use std::collections::{BTreeMap, BTreeSet};

use annulus_ring::{
    Capacity, HashSeed, MoveReport, Node, NodeId, NodeState, PartitionCount, Placement,
    PlacementDocument, PlanError, ReplicationFactor, RingEpoch, found,
};
use uuid::Uuid;

use super::layout::{Layout, NodeOrdinal, node_name, ordinal_of, zone};

/// Partitions of a local ring; the default of clusters.
const PARTITIONS: u32 = 256;

/// Copies, if there are that many nodes.
const COPIES: u16 = 3;

/// What a running node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) id: NodeId,
    /// 0 while it has no placement.
    pub(crate) epoch: u64,
    pub(crate) serving: bool,
    /// Other members that it is connected to and believes to be alive.
    pub(crate) sees: BTreeSet<NodeId>,
    /// The placement that it has acknowledged.
    pub(crate) acked: RingEpoch,
    /// What it has done of its moves.
    pub(crate) moves: Vec<MoveReport>,
}

/// What all nodes say; `None` of one that does not answer.
pub(crate) type Reports = BTreeMap<NodeOrdinal, Option<Report>>;

/// What to do about the placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing now.
    Wait,
    /// All nodes are there and none has a placement: found the ring.
    Found(Vec<NodeId>),
    /// A node holds a placement, but the directory has lost it: take it from this node.
    Recover(NodeOrdinal),
    /// Hand the placement to these nodes.
    Install(Vec<NodeOrdinal>),
}

/// Why the ring can't go on. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FoundingError {
    #[error(
        "{name} has lost its data: the ring knows it as {expected}, it says {actual}. A node is its \
         disk; delete the whole data directory to found a new ring"
    )]
    WrongNode {
        name: String,
        expected: String,
        actual: NodeId,
    },
    #[error(
        "the directory holds a ring of {existing} nodes, not {asked}; start it without --nodes, and \
         change it with `annulus dev add` and `annulus dev remove`, or give another --data-dir"
    )]
    WrongSize { existing: usize, asked: u16 },
    #[error(
        "the directory's ring has a node {name}: it is no local ring's; give another --data-dir"
    )]
    OtherNames { name: String },
    #[error("plan the ring: {0}")]
    Plan(#[from] PlanError),
    #[error("change the placement: {0}")]
    Placement(#[from] annulus_ring::PlacementError),
}

/// The next step. Nodes that the ring does not know are to join it: that is for `moving`.
pub(crate) fn next_step(
    ring: Option<&Placement>,
    reports: &Reports,
) -> Result<Step, FoundingError> {
    let Some(ring) = ring else {
        return Ok(without_ring(reports));
    };
    let mut lacking = Vec::new();
    for (node, report) in reports {
        let Some(report) = report else { continue };
        if is_member(ring, *node, report)? && report.epoch < ring.epoch().0 {
            lacking.push(*node);
        }
    }
    Ok(if lacking.is_empty() {
        Step::Wait
    } else {
        Step::Install(lacking)
    })
}

fn without_ring(reports: &Reports) -> Step {
    let holders = reports.iter();
    let holders = holders.filter_map(|(node, report)| Some((*node, report.as_ref()?)));
    if let Some((node, _)) = holders
        .filter(|(_, report)| report.epoch > 0)
        .max_by_key(|(_, report)| report.epoch)
    {
        return Step::Recover(node);
    }
    let ids: Option<Vec<NodeId>> = reports
        .values()
        .map(|report| report.as_ref().map(|report| report.id))
        .collect();
    ids.map_or(Step::Wait, Step::Found)
}

/// Whether the ring has the node; an error if it has another one of that name.
fn is_member(ring: &Placement, node: NodeOrdinal, report: &Report) -> Result<bool, FoundingError> {
    let name = node_name(node);
    match ring.nodes().iter().find(|node| node.name == name) {
        None => Ok(false),
        Some(member) if member.id == report.id => Ok(true),
        Some(member) => Err(FoundingError::WrongNode {
            expected: member.id.to_string(),
            actual: report.id,
            name,
        }),
    }
}

/// The first placement, of nodes with these ids in so many zones.
pub(crate) fn found_ring(
    layout: &Layout,
    cluster_id: Uuid,
    hash_seed: u64,
    zones: u16,
    ids: &[NodeId],
) -> Result<Placement, FoundingError> {
    let node = |(ordinal, id): (NodeOrdinal, &NodeId)| Node {
        id: *id,
        name: node_name(ordinal),
        addresses: layout.addresses(ordinal),
        zone: zone(ordinal, zones),
        capacity: Capacity::ONE,
        state: NodeState::Active,
    };
    let nodes: Vec<Node> = (0..).zip(ids).map(node).collect();
    let copies = u8::try_from(ids.len().clamp(1, usize::from(COPIES))).expect("3 at most");
    Ok(found(
        cluster_id,
        HashSeed(hash_seed),
        PartitionCount::new(PARTITIONS).expect("a power of two"),
        ReplicationFactor::new(copies).expect("1 at least"),
        &nodes,
    )?)
}

/// The placement with the addresses that the nodes have now: itself, or one at the next epoch when
/// the ring was started on other ports.
pub(crate) fn readdressed(ring: Placement, layout: &Layout) -> Result<Placement, FoundingError> {
    let mut document = PlacementDocument::from(&ring);
    for node in &mut document.nodes {
        let name = node.name.clone();
        let ordinal = ordinal_of(&name).ok_or(FoundingError::OtherNames { name })?;
        node.addresses = layout.addresses(ordinal);
    }
    if document.nodes == ring.nodes() {
        return Ok(ring);
    }
    document.epoch = ring
        .epoch()
        .next()
        .ok_or(PlanError::LastEpoch(ring.epoch()))?;
    document.fingerprint = None;
    Ok(document.try_into()?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::dev::fixtures::founded;

    #[expect(
        clippy::unnecessary_wraps,
        reason = "tests list nodes that may not answer"
    )]
    fn report(ordinal: u128, epoch: u64) -> Option<Report> {
        Some(Report {
            id: NodeId(Uuid::from_u128(ordinal + 1)),
            epoch,
            serving: epoch > 0,
            sees: BTreeSet::new(),
            acked: RingEpoch(epoch),
            moves: Vec::new(),
        })
    }

    fn reports<const N: usize>(reports: [Option<Report>; N]) -> Reports {
        (0..).zip(reports).collect()
    }

    #[test]
    fn a_ring_is_founded_when_all_nodes_are_there_and_not_before() {
        let some = reports([report(0, 0), None, report(2, 0)]);
        assert_eq!(next_step(None, &some), Ok(Step::Wait));
        let all = reports([report(0, 0), report(1, 0), report(2, 0)]);
        assert!(matches!(next_step(None, &all), Ok(Step::Found(ids)) if ids.len() == 3));
    }

    #[test]
    fn a_lost_placement_is_taken_from_the_node_that_holds_the_newest() {
        let held = reports([report(0, 1), report(1, 4), None]);
        assert_eq!(next_step(None, &held), Ok(Step::Recover(1)));
    }

    #[test]
    fn nodes_that_lack_the_placement_get_it_whenever_they_appear() {
        let ring = founded(3);
        let held = reports([report(0, 1), report(1, 0), None]);
        assert_eq!(next_step(Some(&ring), &held), Ok(Step::Install(vec![1])));
        let held = reports([report(0, 1), report(1, 1), report(2, 1), report(3, 0)]);
        assert_eq!(next_step(Some(&ring), &held), Ok(Step::Wait));
    }

    #[test]
    fn a_node_whose_data_was_deleted_is_not_taken_for_the_old_one() {
        let wrong = reports([report(7, 0), None, None]);
        let error = next_step(Some(&founded(3)), &wrong).unwrap_err();
        assert!(matches!(error, FoundingError::WrongNode { name, .. } if name == "node-1"));
    }

    #[test]
    fn a_ring_of_fewer_than_three_nodes_has_as_many_copies_as_nodes() {
        for (nodes, copies) in [(1, 1), (2, 2), (3, 3), (5, 3)] {
            assert_eq!(founded(nodes).replication_factor().get(), copies);
        }
    }

    #[test]
    fn other_ports_are_the_next_epoch_and_the_same_ports_are_none() {
        let ring = founded(3);
        let same = Layout::new(Path::new("/d"), 9600, 3).unwrap();
        assert_eq!(readdressed(ring.clone(), &same), Ok(ring.clone()));
        let moved = Layout::new(Path::new("/d"), 9700, 3).unwrap();
        let next = readdressed(ring.clone(), &moved).unwrap();
        assert_eq!(next.epoch().0, ring.epoch().0 + 1);
        assert_eq!(
            next.node(annulus_ring::NodeIndex(0)).addresses.grpc,
            "127.0.0.1:9800"
        );
    }

    #[test]
    fn a_ring_with_other_names_is_refused_and_not_readdressed_in_part() {
        let mut document = PlacementDocument::from(&founded(3));
        document.nodes[0].name = "orders-0".into();
        document.fingerprint = None;
        let layout = Layout::new(Path::new("/d"), 9700, 3).unwrap();
        let error = readdressed(document.try_into().unwrap(), &layout).unwrap_err();
        assert!(matches!(error, FoundingError::OtherNames { name } if name == "orders-0"));
    }
}
