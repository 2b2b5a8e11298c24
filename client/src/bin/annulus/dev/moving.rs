//! How a local ring changes: the placement of the next epoch, from what is wanted and what the nodes
//! say. The command plays the operator here too, with the same planner and stage machine. Pure.

use std::collections::BTreeSet;

use annulus_ring::{
    Capacity, Desired, Evidence, MoveLimits, Node, NodeReport, NodeState, Placement, Round, Rules,
    Standing, round,
};

use super::founding::{Report, Reports};
use super::layout::{Layout, NodeOrdinal, node_name, ordinal_of, zone};
use super::wanted::Wanted;

/// What comes next.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// The ring is as is wanted.
    Reached,
    /// Some node has something to do first.
    Wait,
    /// This placement is to be recorded and handed over.
    Epoch(Box<Placement>),
}

/// Decides; an error says why what is wanted can't be.
pub(crate) fn next_epoch(
    ring: &Placement,
    layout: &Layout,
    (wanted, zones): (&Wanted, u16),
    reports: &Reports,
) -> Result<Next, String> {
    let nodes = members(ring, layout, (wanted, zones), reports);
    let silent = |node: &&Node| report_of(node, reports).is_none();
    let away = ring.nodes().iter().filter(silent);
    let desired = Desired {
        away: &away.map(|node| node.id).collect(),
        nodes: &nodes,
        replication_factor: ring.replication_factor(),
        gone: &BTreeSet::new(),
    };
    let rules = Rules::of_majorities(ring);
    let bounds = (rules, MoveLimits::default());
    let round = round(ring, &desired, &evidence(ring, reports), bounds);
    Ok(match round.map_err(|error| error.to_string())? {
        Round::Next(next) => Next::Epoch(next),
        Round::Settled if Wanted::of(ring) == *wanted => Next::Reached,
        Round::Settled | Round::Waits(_) => Next::Wait,
    })
}

/// The members to be. A new node is one without vnodes first, until all that answer see it and it
/// sees them.
fn members(
    ring: &Placement,
    layout: &Layout,
    (wanted, zones): (&Wanted, u16),
    reports: &Reports,
) -> Vec<Node> {
    let member = |ordinal: &NodeOrdinal| {
        let name = node_name(*ordinal);
        let report = reports.get(ordinal).and_then(Option::as_ref);
        let Some(found) = ring.nodes().iter().find(|node| node.name == name) else {
            return report.map(|report| Node {
                id: report.id,
                name,
                addresses: layout.addresses(*ordinal),
                zone: zone(*ordinal, zones),
                capacity: Capacity::ONE,
                state: NodeState::Draining,
            });
        };
        let mut node = found.clone();
        let owns_nothing = ring
            .index_of(node.id)
            .is_some_and(|index| ring.is_unused(index));
        let joins = node.state == NodeState::Draining && owns_nothing;
        let drains = wanted.draining.contains(ordinal);
        node.state = if drains || (joins && !sees_all(ring, report, reports)) {
            NodeState::Draining
        } else {
            NodeState::Active
        };
        Some(node)
    };
    wanted.nodes.iter().filter_map(member).collect()
}

fn sees_all(ring: &Placement, joins: Option<&Report>, reports: &Reports) -> bool {
    let Some(joins) = joins else { return false };
    let members = ring.nodes().iter().filter(|node| node.id != joins.id);
    members
        .filter_map(|node| report_of(node, reports))
        .all(|member| member.sees.contains(&joins.id) && joins.sees.contains(&member.id))
}

fn report_of<'a>(member: &Node, reports: &'a Reports) -> Option<&'a Report> {
    let report = reports.get(&ordinal_of(&member.name)?)?.as_ref()?;
    (report.id == member.id).then_some(report)
}

/// A node that does not answer is waited for: here people start it again, or not.
fn evidence(ring: &Placement, reports: &Reports) -> Evidence {
    let members = ring.nodes().iter();
    let reported = members.filter_map(|member| {
        let report = report_of(member, reports)?;
        let known = NodeReport {
            standing: Standing::Alive,
            acked: report.acked,
            moves: report.moves.clone(),
        };
        Some((member.id, known))
    });
    Evidence(reported.collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use annulus_ring::{MoveReport, NodeId, Streamed};
    use uuid::Uuid;

    use super::*;
    use crate::dev::fixtures::founded_in;

    fn layout() -> Layout {
        Layout::new(Path::new("/d"), 9600, 8).unwrap()
    }

    fn id(node: NodeOrdinal) -> NodeId {
        NodeId(Uuid::from_u128(u128::from(node) + 1))
    }

    /// Nodes that hold the ring and have done what it asks of them.
    fn reports(ring: &Placement, nodes: u16) -> Reports {
        let all: Vec<NodeId> = ring.nodes().iter().map(|node| node.id).collect();
        let done = |id| MoveReport {
            id,
            ready: true,
            streamed: Streamed {
                bytes: 1,
                keys: 1,
                from: all.clone(),
            },
            verified: all.clone(),
            drained: all.clone(),
            cleaned: true,
        };
        let report = |node| Report {
            id: id(node),
            epoch: ring.epoch().0,
            serving: true,
            sees: all.iter().copied().collect(),
            acked: ring.epoch(),
            moves: ring.moves().iter().map(|it| done(it.id)).collect(),
        };
        (0..nodes).map(|node| (node, Some(report(node)))).collect()
    }

    fn settled(mut ring: Placement, wanted: &Wanted) -> Placement {
        for _ in 0..200 {
            match next_epoch(&ring, &layout(), (wanted, 1), &reports(&ring, 6)).unwrap() {
                Next::Reached => return ring,
                Next::Epoch(next) => ring = *next,
                Next::Wait => panic!("nobody has anything to do"),
            }
        }
        panic!("never reached");
    }

    #[test]
    fn nodes_come_go_and_are_emptied() {
        let mut wanted = Wanted::of(&founded_in(3, 1));
        wanted.nodes.extend([3, 4]);
        let ring = settled(founded_in(3, 1), &wanted);
        assert_eq!(ring.nodes().len(), 5);
        wanted.nodes.remove(&1);
        wanted.draining.insert(4);
        let ring = settled(ring, &wanted);
        assert_eq!(Wanted::of(&ring), wanted);
        let drained = ring.index_of(id(4)).unwrap();
        assert!(ring.is_unused(drained));
    }

    #[test]
    fn a_new_node_that_somebody_does_not_see_gets_nothing() {
        let mut wanted = Wanted::of(&founded_in(3, 1));
        wanted.nodes.insert(3);
        let first = founded_in(3, 1);
        let next = next_epoch(&first, &layout(), (&wanted, 1), &reports(&first, 4)).unwrap();
        let Next::Epoch(ring) = next else {
            panic!("{next:?}")
        };
        let mut seen = reports(&ring, 4);
        let one = seen.get_mut(&1).unwrap().as_mut().unwrap();
        one.sees.remove(&id(3));
        let next = next_epoch(&ring, &layout(), (&wanted, 1), &seen);
        assert_eq!(next, Ok(Next::Wait));
        assert!(ring.is_unused(ring.index_of(id(3)).unwrap()));
    }

    #[test]
    fn what_can_t_be_is_said() {
        let ring = founded_in(3, 1);
        let mut wanted = Wanted::of(&ring);
        wanted.nodes.remove(&2);
        let error = next_epoch(&ring, &layout(), (&wanted, 1), &reports(&ring, 3)).unwrap_err();
        assert!(error.contains("active nodes for 3 copies"), "{error}");
    }
}
