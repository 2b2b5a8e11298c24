//! A ring that changes: nodes that do at once what a stage asks of them, and whatever may go wrong
//! around them. What stages need is the ring's own to test.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use annulus_ring::{MoveLimits, NodeId, NodeState, Placement, RingEpoch, Rules};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::crd::NodePhase;
use crate::membership::{Finding, Founder, ObservedNode, Plan, Seat, Step, found, next};
use crate::node_client::{HeldPlacement, MovesReport, NodeReport};

const PARTITIONS: u32 = 32;
const REPLACE_AFTER: Duration = Duration::from_secs(900);
/// Many more than any change needs.
const MAX_ROUNDS: usize = 400;

mod world;

use world::World;

fn name(node: usize) -> String {
    format!("orders-default-{node}")
}

#[test]
fn at_rest_nothing_is_done() {
    let plan = World::new(5, 1).plan();
    assert_eq!(
        (plan.step, plan.moving, plan.findings),
        (Step::Hold, None, vec![])
    );
}

#[test]
fn new_nodes_join_and_get_their_share() {
    let mut world = World::new(3, 1);
    world.scale(5);
    assert_eq!(world.moving().kind, Kind::ScaleOut);
    world.settle();
    world.is_as_desired();
    let share = PARTITIONS as usize * 3 / 5;
    assert!(
        world
            .vnodes()
            .iter()
            .all(|vnodes| vnodes.abs_diff(share) <= 1)
    );
}

#[test]
fn a_new_node_gets_nothing_before_all_members_see_it_and_it_sees_them() {
    let mut world = World::new(3, 1);
    world.scale(4);
    world.unseen.insert(name(1));
    world.rounds(5);
    let moving = world.moving();
    assert_eq!(
        (moving.phase, moving.kind),
        (Phase::Joining, Kind::ScaleOut)
    );
    assert!(
        moving.waits[0].contains("does not see"),
        "{:?}",
        moving.waits
    );
    assert_eq!(
        world.members().len(),
        4,
        "a member, for only members gossip"
    );
    assert_eq!(
        world.vnodes().iter().filter(|vnodes| **vnodes == 0).count(),
        1
    );
    world.unseen.clear();
    world.settle();
    world.is_as_desired();
}

#[test]
fn a_node_that_does_not_start_is_waited_for_and_named() {
    let mut world = World::new(3, 1);
    world.scale(4);
    world.disk(3).up = false;
    world.rounds(3);
    let moving = world.moving();
    assert_eq!(moving.phase, Phase::StartingNodes);
    assert!(moving.waits[0].contains(&name(3)), "{:?}", moving.waits);
    assert_eq!(world.ring.epoch(), RingEpoch::FIRST);
}

#[test]
fn the_last_node_leaves_when_it_owns_nothing_and_its_pod_after_that() {
    let mut world = World::new(5, 1);
    world.scale(4);
    assert_eq!(world.moving().kind, Kind::ScaleIn);
    world.settle();
    world.is_as_desired();
    assert_eq!(world.removed, [name(4)]);
}

#[test]
fn a_leaver_with_hints_stays_until_they_are_delivered() {
    let mut world = World::new(4, 1);
    world.disk(3).hints = 7;
    world.scale(3);
    world.rounds(60);
    assert_eq!(world.members().len(), 4);
    let moving = world.moving();
    assert_eq!(moving.phase, Phase::Leaving);
    assert!(moving.waits[0].contains("7 hints"), "{:?}", moving.waits);
    world.disk(3).hints = 0;
    world.settle();
    world.is_as_desired();
}

#[test]
fn who_has_only_to_leave_may_stay_after_all() {
    let mut world = World::new(4, 1);
    world.disk(3).hints = 7;
    world.scale(3);
    world.rounds(60);
    assert_eq!(world.moving().phase, Phase::Leaving);
    world.scale(4);
    world.settle();
    world.is_as_desired();
    assert!(world.members().contains(&name(3)) && world.removed.is_empty());
    let index = world.ring.index_of(world.disks[&name(3)].id).unwrap();
    assert!(world.ring.partitions_of(index).count() > 0);
}

#[test]
fn a_leaver_that_does_not_answer_is_not_forgotten() {
    let mut world = World::new(5, 1);
    world.scale(4);
    world.disk(4).up = false;
    world.rounds(60);
    assert!(world.members().contains(&name(4)));
    world.disk(4).up = true;
    world.settle();
    world.is_as_desired();
}

#[test]
fn a_change_of_mind_at_any_point_ends_as_last_asked_for() {
    for (from, to, back) in [(5, 4, 5), (4, 3, 4), (3, 5, 3), (4, 5, 3)] {
        for rounds in 0..24 {
            let mut world = World::new(from, 1);
            world.scale(to);
            world.rounds(rounds);
            world.scale(back);
            world.settle();
            world.is_as_desired();
        }
    }
}

#[test]
fn killed_after_any_number_of_writes_it_goes_on() {
    for writes in 1..4 {
        let mut world = World::new(4, 1);
        world.scale(5);
        for _ in 0..30 {
            world.round(writes);
        }
        world.scale(3);
        for _ in 0..30 {
            world.round(writes);
        }
        world.settle();
        world.is_as_desired();
    }
}

#[test]
fn a_lost_disk_is_replaced_after_its_time_and_not_before() {
    let mut world = World::new(4, 4);
    let old = world.disk(1).id;
    world.wipe(1);
    world.wait(REPLACE_AFTER / 2);
    world.rounds(5);
    assert_eq!(world.ring.epoch(), RingEpoch::FIRST, "it may come back");
    let plan = world.plan();
    assert_eq!(plan.findings, [Finding::Replaced { node: name(1) }]);
    world.wait(REPLACE_AFTER);
    assert_eq!(world.moving().kind, Kind::Replace);
    world.settle();
    world.is_as_desired();
    assert_eq!(world.ring.node_by_id(old), None);
    assert_eq!(world.plan().findings, []);
}

#[test]
fn with_as_many_nodes_as_copies_a_lost_disk_is_replaced_too() {
    let mut world = World::new(3, 3);
    world.wipe(2);
    world.wait(REPLACE_AFTER);
    world.settle();
    world.is_as_desired();
}

#[test]
fn a_disk_that_is_lost_while_nothing_takes_its_place_is_replaced_by_the_others() {
    let mut world = World::new(5, 1);
    (world.disk(1).up, world.disk(1).gone) = (false, true);
    world.wait(REPLACE_AFTER);
    world.rounds(80);
    assert_eq!(world.members().len(), 4);
    world.wipe(1);
    world.disk(1).gone = false;
    world.settle();
    world.is_as_desired();
}

#[test]
fn a_silent_node_whose_disk_is_there_is_never_replaced() {
    let mut world = World::new(4, 1);
    world.disk(1).up = false;
    world.wait(REPLACE_AFTER * 100);
    world.rounds(5);
    assert_eq!(world.ring.epoch(), RingEpoch::FIRST);
}

#[test]
fn the_brake_holds_while_more_than_one_domain_looks_unhealthy() {
    let mut world = World::new(6, 3);
    world.wipe(0);
    world.disk(1).up = false;
    world.wait(REPLACE_AFTER * 2);
    world.rounds(5);
    assert_eq!(world.ring.epoch(), RingEpoch::FIRST);
    let waits = losses(
        &world.ring,
        &world.observed(&BTreeSet::new()),
        &world.desired,
    )
    .waits;
    assert!(
        waits[0].contains("more than one failure domain"),
        "{waits:?}"
    );
    world.disk(1).up = true;
    world.settle();
    world.is_as_desired();
}

#[test]
fn a_whole_zone_that_is_away_is_waited_for() {
    let mut world = World::new(6, 3);
    for node in [0, 3] {
        (world.disk(node).up, world.disk(node).gone) = (false, true);
    }
    world.wait(REPLACE_AFTER * 100);
    world.rounds(5);
    assert_eq!(world.ring.epoch(), RingEpoch::FIRST);
}

#[test]
fn an_operator_that_has_just_come_back_gives_nobody_up() {
    let mut world = World::new(4, 1);
    world.wipe(1);
    world.wait(REPLACE_AFTER * 2);
    let mut observed = world.observed(&BTreeSet::new());
    observed.watched_since = world.now - SignedDuration::from_secs(30);
    assert_eq!(next(&observed, &world.desired).step, Step::Hold);
    observed.watched_since = world.now - SignedDuration::from_secs(60);
    assert!(matches!(
        next(&observed, &world.desired).step,
        Step::Record(_)
    ));
}

#[test]
fn two_lost_disks_are_replaced_one_after_the_other_when_a_person_says_so() {
    let mut world = World::new(5, 1);
    world.destroyed = [world.disk(0).id, world.disk(3).id].into();
    world.wipe(0);
    world.wipe(3);
    for _ in 0..MAX_ROUNDS {
        let displaced = world
            .ring
            .nodes()
            .iter()
            .filter(|node| node.name == node.id.to_string());
        assert!(displaced.count() <= 1, "one at a time");
        if !world.round(usize::MAX) && world.plan().moving.is_none() {
            break;
        }
    }
    world.is_as_desired();
}

#[test]
fn a_newcomer_that_dies_in_mid_stream_is_called_off_after_its_time() {
    let mut world = World::new(4, 1);
    world.scale(5);
    world.idle.insert(name(4));
    world.rounds(8);
    assert!(!world.ring.moves().is_empty());
    world.disk(4).up = false;
    world.scale(4);
    world.wait(REPLACE_AFTER);
    world.settle();
    world.is_as_desired();
}

#[test]
fn nothing_moves_before_it_is_approved_and_the_name_of_the_plan_stays() {
    let mut world = World::new(3, 1);
    world.desired.approval = Approval::Manual;
    world.scale(4);
    world.rounds(3);
    assert_eq!(world.ring.epoch(), RingEpoch::FIRST);
    let moving = world.moving();
    assert_eq!(moving.phase, Phase::AwaitingApproval);
    let plan = moving.plan.expect("there is something to approve");
    let share = PARTITIONS as usize * 3 / 4;
    assert!(plan.moves.abs_diff(share) <= 1, "{plan:?}");
    assert_eq!(plan.bytes, plan.moves as u64 * 1_000);
    assert!(plan.pairs.iter().all(|(_, to, _)| *to == name(3)));

    world.approved = Some("other".into());
    world.rounds(1);
    assert_eq!(world.ring.epoch(), RingEpoch::FIRST);
    world.approved = Some(moving.plan_id.clone());
    for _ in 0..MAX_ROUNDS {
        world.round(usize::MAX);
        let Some(moving) = world.plan().moving else {
            break;
        };
        assert_eq!(Some(moving.plan_id), world.approved);
    }
    world.is_as_desired();

    world.scale(3);
    assert_eq!(
        world.moving().phase,
        Phase::AwaitingApproval,
        "that was another plan"
    );
}

#[test]
fn an_annotated_node_is_emptied_and_stays() {
    let mut world = World::new(5, 1);
    world.disk(2).drain = true;
    assert_eq!(world.moving().kind, Kind::Drain);
    world.settle();
    assert_eq!(world.members().len(), 5);
    let index = world.ring.index_of(world.disks[&name(2)].id).unwrap();
    assert!(world.ring.is_unused(index));
    world.disk(2).drain = false;
    world.settle();
    world.is_as_desired();
}

#[test]
fn all_nodes_may_be_drained_while_as_many_new_ones_join() {
    let mut world = World::new(3, 1);
    world.scale(6);
    (0..3).for_each(|node| world.disk(node).drain = true);
    world.settle();
    for node in 0..3 {
        let index = world.ring.index_of(world.disks[&name(node)].id).unwrap();
        assert!(world.ring.is_unused(index), "{}", name(node));
    }
}

#[test]
fn draining_more_than_can_be_spared_is_refused_in_words() {
    let mut world = World::new(3, 1);
    world.disk(2).drain = true;
    world.rounds(2);
    let moving = world.moving();
    assert_eq!(moving.phase, Phase::Blocked);
    assert!(
        moving
            .problem
            .unwrap()
            .contains("active nodes for 3 copies")
    );
}

#[test]
fn weights_and_copies_may_change() {
    let mut world = World::new(5, 1);
    world.desired.nodes.get_mut(&name(0)).unwrap().capacity = 2;
    world.settle();
    let index = world.ring.index_of(world.disks[&name(0)].id).unwrap();
    assert_eq!(world.ring.partitions_of(index).count(), PARTITIONS as usize);
    for copies in [5, 2, 3] {
        world.desired.replication_factor = copies;
        world.settle();
        world.is_as_desired();
        assert_eq!(world.ring.replication_factor().get(), copies);
    }
}

#[test]
fn copies_may_grow_with_the_nodes() {
    for (nodes, copies) in [(1, 3), (2, 3), (2, 4)] {
        let mut world = World::new(5, 1);
        world.desired.replication_factor = u8::try_from(nodes).unwrap();
        world.settle();
        world.scale(nodes);
        world.settle();
        world.desired.replication_factor = copies;
        world.scale(usize::from(copies));
        world.settle();
        world.is_as_desired();
        assert_eq!(world.ring.replication_factor().get(), copies);
    }
}

#[test]
fn who_drains_is_given_no_copies_while_their_number_grows() {
    let mut world = World::new(4, 1);
    world.disk(3).drain = true;
    let leaver = world.disks[&name(3)].id;
    world.desired.replication_factor = 4;
    world.scale(5);
    for _ in 0..MAX_ROUNDS {
        if !world.round(usize::MAX) {
            break;
        }
        let index = world.ring.index_of(leaver);
        let mut given = world.ring.moves().iter().map(|it| it.add);
        assert!(index.is_none() || given.all(|add| add != index));
    }
    world.settle();
    assert_eq!(world.ring.replication_factor().get(), 4);
}

#[test]
fn what_is_left_goes_down_to_nothing() {
    let mut world = World::new(4, 1);
    world.scale(5);
    let mut left = usize::MAX;
    for _ in 0..MAX_ROUNDS {
        world.round(usize::MAX);
        let Some(moving) = world.plan().moving else {
            break;
        };
        if moving.phase == Phase::Moving {
            assert!(moving.remaining.moves <= left);
            assert!(moving.remaining.bytes <= 1_000 * moving.remaining.moves as u64);
            left = moving.remaining.moves;
        }
    }
    assert!(left < usize::MAX, "it was told");
    world.is_as_desired();
}

#[test]
fn an_old_record_removes_no_node() {
    let mut world = World::new(3, 1);
    let old = world.ring.clone();
    world.scale(4);
    world.settle();
    world.ring = old;
    world.scale(3);
    for disk in world.disks.values_mut() {
        disk.up = false;
    }
    assert_eq!(world.plan().step, Step::Hold, "nobody confirms the record");
    world.disk(0).up = true;
    assert_eq!(world.plan().step, Step::RecordHeld(name(0)));
}

#[derive(Clone, Debug)]
enum Event {
    Scale(usize),
    Round { writes: usize },
    Down(usize),
    Up(usize),
    Wipe(usize),
    Wait,
    Capacity(usize, u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (3..6_usize).prop_map(Event::Scale),
        20 => (1..8_usize).prop_map(|writes| Event::Round { writes }),
        3 => (0..5_usize).prop_map(Event::Down),
        4 => (0..5_usize).prop_map(Event::Up),
        1 => (0..5_usize).prop_map(Event::Wipe),
        2 => Just(Event::Wait),
        1 => (0..3_usize, 1..3_u32).prop_map(|(node, capacity)| Event::Capacity(node, capacity)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens, one disk lost at a time, and wherever the operator is killed: in the end
    /// the ring is as was last asked for.
    #[test]
    fn whatever_happens_it_ends_as_desired(events in prop::collection::vec(event(), 1..50)) {
        let mut world = World::new(4, 1);
        for event in events {
            match event {
                Event::Scale(nodes) => world.scale(nodes),
                Event::Round { writes } => {
                    world.round(writes);
                }
                Event::Down(node) => {
                    world.disks.get_mut(&name(node)).into_iter().for_each(|it| it.up = false);
                }
                Event::Up(node) => {
                    world.disks.get_mut(&name(node)).into_iter().for_each(|it| it.up = true);
                }
                Event::Wipe(node) => {
                    let well = world.ring.nodes().iter().all(|member| {
                        let disk = world.disks.get(&member.name);
                        disk.is_some_and(|disk| disk.up && disk.id == member.id)
                    });
                    if well && world.disks.contains_key(&name(node)) {
                        world.wipe(node);
                    }
                }
                Event::Wait => world.wait(REPLACE_AFTER / 2),
                Event::Capacity(node, capacity) => {
                    if let Some(seat) = world.desired.nodes.get_mut(&name(node)) {
                        seat.capacity = capacity;
                    }
                }
            }
        }
        world.disks.values_mut().for_each(|disk| disk.up = true);
        world.wait(Duration::ZERO);
        world.wait(REPLACE_AFTER);
        world.settle();
        world.is_as_desired();
    }
}
