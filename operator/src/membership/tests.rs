//! The rules of founding, and the traps around it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use annulus_ring::{MoveLimits, NodeId, Placement, RingEpoch, Rules};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::crd::{Approval, NodePhase};
use crate::node_client::{HeldPlacement, NodeReport};

fn name(node: usize) -> String {
    format!("orders-default-{node}")
}

/// Disks and the API server, as far as founding is concerned.
#[derive(Clone, Default)]
struct World {
    record: Option<Placement>,
    founded_before: bool,
    disks: BTreeMap<String, Disk>,
    /// Nodes that do not answer.
    silent: Vec<String>,
    desired: usize,
    next_id: u128,
    foundings: u32,
}

#[derive(Clone)]
struct Disk {
    id: NodeId,
    placement: Option<Placement>,
}

impl World {
    fn new(nodes: usize) -> Self {
        let mut world = Self {
            desired: nodes,
            next_id: 100,
            ..Self::default()
        };
        (0..nodes).for_each(|node| world.wipe(node));
        world
    }

    /// An empty disk with an identity of its own.
    fn wipe(&mut self, node: usize) {
        self.next_id += 1;
        let disk = Disk {
            id: NodeId(Uuid::from_u128(self.next_id)),
            placement: None,
        };
        self.disks.insert(name(node), disk);
    }

    fn desired(&self) -> Desired {
        Desired {
            cluster: "orders".into(),
            namespace: "shop".into(),
            nodes: (0..self.desired)
                .map(|node| (name(node), Seat { capacity: 1 }))
                .collect(),
            partitions: 16,
            replication_factor: 3,
            rules: Rules {
                read_min: 2,
                write_min: 2,
            },
            limits: MoveLimits::default(),
            bytes_per_second: 1 << 20,
            replace_after: Duration::from_secs(900),
            approval: Approval::Automatic,
        }
    }

    fn observed(&self) -> Observed {
        let nodes = self.disks.iter().map(|(name, disk)| {
            let report = (!self.silent.contains(name)).then(|| report(name, disk));
            (
                name.clone(),
                ObservedNode {
                    zone: Some("a".into()),
                    recorded: Some(disk.id),
                    report,
                    ..ObservedNode::default()
                },
            )
        });
        Observed {
            ring: self.record.clone(),
            founded_before: self.founded_before,
            nodes: nodes.collect(),
            ..Observed::default()
        }
    }

    fn plan(&self) -> Plan {
        next(&self.observed(), &self.desired())
    }

    /// Carries out at most `writes` single writes of a step: then the operator is killed.
    fn take(&mut self, step: &Step, writes: usize) {
        match step {
            Step::RemoveSurplus(nodes) => {
                for node in nodes.iter().take(writes) {
                    self.disks.remove(node);
                }
            }
            Step::Found(founders) if writes > 0 => {
                let id = Uuid::from_u128(7 + u128::from(self.foundings));
                let ring = found(founders, &self.desired(), id, 5).unwrap();
                self.record = Some(ring);
                self.foundings += 1;
            }
            Step::RecordHeld(holder) if writes > 0 => {
                self.record = self.disks[holder].placement.clone();
            }
            Step::Record(next) if writes > 0 => self.record = Some(Placement::clone(next)),
            Step::HandOver(nodes) => {
                for node in nodes.iter().take(writes) {
                    let ring = self.record.clone();
                    self.disks.get_mut(node).unwrap().placement = ring;
                }
            }
            _ => {}
        }
    }

    /// Runs until nothing changes, and says what it came to.
    fn settle(&mut self) -> Plan {
        for _ in 0..32 {
            let plan = self.plan();
            if matches!(
                plan.step,
                Step::AwaitNodes(_) | Step::Hold | Step::Blocked(_)
            ) {
                return plan;
            }
            self.take(&plan.step, usize::MAX);
        }
        panic!("does not settle: {:?}", self.plan());
    }

    fn founded(nodes: usize) -> Self {
        let mut world = Self::new(nodes);
        assert_eq!(world.settle().step, Step::Hold);
        world.founded_before = true;
        world
    }
}

fn report(name: &str, disk: &Disk) -> NodeReport {
    NodeReport {
        id: disk.id,
        name: name.to_owned(),
        holds: disk.placement.as_ref().map(|placement| HeldPlacement {
            cluster_id: placement.cluster_id(),
            epoch: placement.epoch(),
            fingerprint: placement.fingerprint(),
        }),
        phase: NodePhase::Serving,
        vnodes: 0,
        data_bytes: 0,
        disk_free_bytes: 0,
        sees: BTreeSet::new(),
        hints: 0,
        comparisons_overdue: 0,
        generation: 1,
        version: String::new(),
    }
}

/// The same ring one epoch on.
fn later(ring: &Placement) -> Placement {
    let mut document = annulus_ring::PlacementDocument::from(ring);
    document.epoch = RingEpoch(ring.epoch().0 + 1);
    document.fingerprint = None;
    Placement::try_from(document).unwrap()
}

#[test]
fn a_ring_is_founded_when_all_nodes_have_said_who_they_are() {
    let mut world = World::new(3);
    world.silent = vec![name(2)];
    assert_eq!(world.plan().step, Step::AwaitNodes(vec![name(2)]));
    world.silent.clear();
    assert!(matches!(world.plan().step, Step::Found(founders) if founders.len() == 3));
    let plan = world.settle();
    assert_eq!((plan.step, plan.findings), (Step::Hold, vec![]));
    let ring = world.record.unwrap();
    assert_eq!(ring.epoch(), RingEpoch::FIRST);
    assert!(
        world
            .disks
            .values()
            .all(|disk| disk.placement.as_ref() == Some(&ring))
    );
    let address = &ring.nodes()[0].addresses.peer;
    assert_eq!(address, "orders-default-0.orders-peers.shop.svc:9602");
}

#[test]
fn a_node_without_a_known_zone_is_waited_for() {
    let world = World::new(3);
    let mut observed = world.observed();
    observed.nodes.get_mut(&name(1)).unwrap().zone = None;
    assert_eq!(
        next(&observed, &world.desired()).step,
        Step::AwaitNodes(vec![name(1)])
    );
}

#[test]
fn killed_between_any_two_writes_it_goes_on_and_founds_once() {
    for kill_at in 0..=4 {
        let mut world = World::new(3);
        let mut writes = kill_at;
        loop {
            let plan = world.plan();
            let step_writes = match &plan.step {
                Step::HandOver(nodes) => nodes.len(),
                Step::Found(_) => 1,
                _ => 0,
            };
            world.take(&plan.step, writes);
            if step_writes >= writes || step_writes == 0 {
                break;
            }
            writes -= step_writes;
        }
        assert_eq!(
            world.settle().step,
            Step::Hold,
            "killed after {kill_at} writes"
        );
        assert_eq!(world.foundings, 1, "killed after {kill_at} writes");
    }
}

#[test]
fn an_empty_node_0_never_founds_a_second_ring() {
    let mut world = World::founded(3);
    world.wipe(0);
    let plan = world.settle();
    assert_eq!(plan.step, Step::Hold);
    assert_eq!(plan.findings, vec![Finding::Replaced { node: name(0) }]);
    assert_eq!(
        world.disks[&name(0)].placement,
        None,
        "it is given no placement"
    );
    assert_eq!(world.foundings, 1);
}

#[test]
fn a_deleted_record_is_rebuilt_from_the_nodes() {
    let mut world = World::founded(3);
    let before = world.record.take();
    world.founded_before = false;
    assert!(matches!(world.plan().step, Step::RecordHeld(_)));
    assert_eq!(world.settle().step, Step::Hold);
    assert_eq!((world.record, world.foundings), (before, 1));
}

#[test]
fn a_deleted_record_and_an_empty_node_still_found_nothing() {
    let mut world = World::founded(3);
    world.record = None;
    world.wipe(0);
    world.wipe(1);
    assert_eq!(world.settle().step, Step::Hold);
    assert_eq!(world.foundings, 1);
}

#[test]
fn a_record_is_not_rebuilt_from_a_minority() {
    let mut world = World::founded(3);
    world.record = None;
    world.silent = vec![name(0), name(1)];
    assert_eq!(world.plan().step, Step::AwaitNodes(vec![name(0), name(1)]));
}

#[test]
fn all_pods_deleted_at_once_is_waited_out() {
    let mut world = World::founded(3);
    world.silent = (0..3).map(name).collect();
    assert_eq!(world.plan().step, Step::Hold);
    world.record = None;
    assert!(matches!(world.plan().step, Step::AwaitNodes(_)));
    world.silent.clear();
    assert_eq!(world.settle().step, Step::Hold);
    assert_eq!(world.foundings, 1);
}

#[test]
fn when_everything_is_lost_a_person_decides() {
    let mut world = World::founded(3);
    world.record = None;
    (0..3).for_each(|node| world.wipe(node));
    assert_eq!(world.settle().step, Step::Blocked(Blocked::RingLost));
}

#[test]
fn an_old_record_gives_way_to_a_newer_placement_on_a_node() {
    let mut world = World::founded(3);
    let newer = later(world.record.as_ref().unwrap());
    world.disks.get_mut(&name(1)).unwrap().placement = Some(newer.clone());
    assert_eq!(world.plan().step, Step::RecordHeld(name(1)));
    assert_eq!(world.settle().step, Step::Hold);
    assert_eq!(world.record, Some(newer));
}

#[test]
fn two_rings_or_two_truths_of_one_epoch_block() {
    let (mut world, mut other) = (World::founded(3), World::new(3));
    other.foundings = 9;
    other.settle();
    world.record = None;
    world.disks.get_mut(&name(2)).unwrap().placement = other.record.clone();
    assert!(matches!(
        world.plan().step,
        Step::Blocked(Blocked::RingConflict(_))
    ));

    let mut foreign = World::founded(3);
    foreign.disks.get_mut(&name(2)).unwrap().placement = other.record;
    assert_eq!(
        foreign.plan().findings,
        vec![Finding::ForeignDisk { node: name(2) }]
    );
    assert_eq!(foreign.plan().step, Step::Hold);
}

#[test]
fn a_disk_in_anothers_place_is_given_nothing() {
    let mut world = World::founded(3);
    let mut swapped = world.disks[&name(0)].clone();
    swapped.placement = None;
    world.disks.insert(name(1), swapped);
    let plan = world.plan();
    assert_eq!(plan.findings, vec![Finding::ForeignDisk { node: name(1) }]);
    assert_eq!(plan.step, Step::Hold);
}

#[test]
fn a_copied_disk_blocks_the_founding() {
    let mut world = World::new(3);
    let copy = world.disks[&name(0)].clone();
    world.disks.insert(name(2), copy);
    let twins = Blocked::DuplicateIdentity(name(0), name(2));
    assert_eq!(world.plan().step, Step::Blocked(twins));
}

#[test]
fn before_the_founding_a_changed_mind_removes_what_is_empty() {
    let mut world = World::new(5);
    world.desired = 3;
    assert_eq!(
        world.plan().step,
        Step::RemoveSurplus(vec![name(3), name(4)])
    );
    assert_eq!(world.settle().step, Step::Hold);
    assert_eq!(world.record.unwrap().nodes().len(), 3);
}

#[test]
fn a_surplus_node_that_may_hold_something_is_waited_for() {
    let mut world = World::new(4);
    world.desired = 3;
    world.silent = vec![name(3)];
    assert_eq!(world.plan().step, Step::AwaitNodes(vec![name(3)]));
}

#[test]
fn a_node_that_missed_the_handover_gets_it_later() {
    let mut world = World::new(3);
    world.take(&world.plan().step.clone(), 1);
    world.silent = vec![name(1)];
    let plan = world.settle();
    assert_eq!(plan.step, Step::Hold, "nobody else is waited for");
    assert_eq!(world.disks[&name(1)].placement, None);
    world.silent.clear();
    assert_eq!(world.plan().step, Step::HandOver(vec![name(1)]));
}

#[derive(Clone, Debug)]
enum Event {
    Wipe(usize),
    Silence(usize),
    Return(usize),
    DeleteRecord,
    Step { writes: usize },
    Scale(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => (0..3_usize).prop_map(Event::Wipe),
        3 => (0..3_usize).prop_map(Event::Silence),
        4 => (0..3_usize).prop_map(Event::Return),
        1 => Just(Event::DeleteRecord),
        8 => (0..4_usize).prop_map(|writes| Event::Step { writes }),
        1 => (3..5_usize).prop_map(Event::Scale),
    ]
}

proptest! {
    /// Whatever happens to pods, records and disks, and wherever the operator is killed: once a
    /// node holds a placement, no node of that ring is ever given one of another.
    #[test]
    fn there_is_never_a_second_ring(events in prop::collection::vec(event(), 1..60)) {
        let mut world = World::new(3);
        for event in events {
            match event {
                Event::Wipe(node) => world.wipe(node),
                Event::Silence(node) => world.silent.push(name(node)),
                Event::Return(node) => world.silent.retain(|silent| *silent != name(node)),
                Event::DeleteRecord => {
                    world.founded_before |= world.record.is_some();
                    world.record = None;
                }
                Event::Step { writes } => {
                    let step = world.plan().step;
                    world.take(&step, writes);
                    world.founded_before |= world.record.is_some();
                }
                Event::Scale(nodes) => world.desired = nodes,
            }
            prop_assert!(world.foundings <= 1);
            if let Some(ring) = &world.record {
                for (node, disk) in &world.disks {
                    let member = ring.node_by_id(disk.id).is_some();
                    prop_assert!(disk.placement.is_none() || member, "{} is a stranger", node);
                }
            }
        }
    }
}

#[test]
fn the_ring_says_what_absent_nodes_cost() {
    let world = World::founded(3);
    let ring = world.record.unwrap();
    let all: std::collections::BTreeSet<NodeId> = ring.nodes().iter().map(|node| node.id).collect();
    let full = Availability {
        partitions: 16,
        below_quorum: 0,
        below_full: 0,
    };
    assert_eq!(availability(&ring, &all, 2), full);
    let two = all.iter().copied().take(2).collect();
    assert_eq!(
        availability(&ring, &two, 2),
        Availability {
            below_full: 16,
            ..full
        }
    );
    let one = all.into_iter().take(1).collect();
    let lost = Availability {
        below_full: 16,
        below_quorum: 16,
        ..full
    };
    assert_eq!(availability(&ring, &one, 2), lost);
}

#[test]
fn crowded_zones_are_counted() {
    let mut world = World::new(4);
    let mut observed = world.observed();
    for (at, node) in observed.nodes.values_mut().enumerate() {
        node.zone = Some(["a", "b", "c", "c"][at].into());
    }
    let Step::Found(founders) = next(&observed, &world.desired()).step else {
        panic!("no founding")
    };
    let id = Uuid::from_u128(1);
    let ring = found(&founders, &world.desired(), id, 5).unwrap();
    assert_eq!(
        zone_spread(&ring),
        ZoneSpread {
            zones: 3,
            crowded: 0
        }
    );
    assert_eq!(world.settle().step, Step::Hold);
    assert_eq!(
        zone_spread(&world.record.unwrap()),
        ZoneSpread {
            zones: 1,
            crowded: 0
        }
    );
}
