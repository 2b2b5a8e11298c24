//! The claim's laws on generated clusters: 1 to 40 nodes, 1 to 6 zones, capacities 1 to 4,
//! 16 to 1024 partitions.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use annulus_ring::{
    Capacity, HashSeed, Node, NodeAddresses, NodeId, NodeState, PartitionCount, Placement,
    PlanError, ReplicationFactor, TransferPlan, Zone, found, partitions_below, plan,
};
use proptest::prelude::*;
use uuid::Uuid;

fn node(number: usize, zone: usize, capacity: u32) -> Node {
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
        capacity: Capacity(NonZeroU32::new(capacity).unwrap()),
        state: NodeState::Active,
    }
}

/// `count` equal nodes, dealt to zones in turn.
fn equal_nodes(count: usize, zones: usize) -> Vec<Node> {
    (0..count)
        .map(|number| node(number, number % zones, 1))
        .collect()
}

fn q(bits: u32) -> PartitionCount {
    PartitionCount::new(1 << bits).unwrap()
}

fn n(factor: u8) -> ReplicationFactor {
    ReplicationFactor::new(factor).unwrap()
}

fn founded(nodes: &[Node], partitions: PartitionCount, factor: u8) -> Placement {
    found(Uuid::nil(), HashSeed(1), partitions, n(factor), nodes).unwrap()
}

fn planned(current: &Placement, nodes: &[Node]) -> TransferPlan {
    plan(
        Some(current),
        nodes,
        current.partitions(),
        current.replication_factor(),
    )
    .unwrap()
}

/// Vnodes by node.
fn held(placement: &Placement) -> BTreeMap<NodeId, usize> {
    let mut held: BTreeMap<NodeId, usize> =
        placement.nodes().iter().map(|node| (node.id, 0)).collect();
    for partition in placement.partitions().ids() {
        for owner in placement.owners(partition) {
            *held.get_mut(&placement.node(*owner).id).unwrap() += 1;
        }
    }
    held
}

/// The active nodes by zone.
fn zones(placement: &Placement) -> BTreeMap<&Zone, Vec<&Node>> {
    let mut zones: BTreeMap<&Zone, Vec<&Node>> = BTreeMap::new();
    for node in placement
        .nodes()
        .iter()
        .filter(|node| node.state == NodeState::Active)
    {
        zones.entry(&node.zone).or_default().push(node);
    }
    zones
}

/// The most even way to spread N copies over zones of these sizes, worked out by hand: one
/// copy at a time goes to the zone that has fewest and room. Gives (least, most) copies by zone.
fn copies_by_zone(sizes: &[usize], factor: usize) -> Vec<(usize, usize)> {
    let mut copies = vec![0; sizes.len()];
    for _ in 0..factor {
        let room = (0..sizes.len()).filter(|zone| copies[*zone] < sizes[*zone]);
        let fewest = room.min_by_key(|zone| copies[*zone]).unwrap();
        copies[fewest] += 1;
    }
    let level = *copies.iter().max().unwrap();
    sizes
        .iter()
        .map(|size| ((*size).min(level - 1), (*size).min(level)))
        .collect()
}

fn clamped(level: f64, nodes: &[&Node], q: f64, (least, most): (usize, usize)) -> f64 {
    let amount: f64 = nodes
        .iter()
        .map(|node| q.min(level * f64::from(node.capacity.get())))
        .sum();
    amount.clamp(least as f64 * q, most as f64 * q)
}

/// The level at which `amount` reaches `wanted`, by bisection.
fn level(wanted: f64, q: f64, amount: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, q);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if amount(middle) < wanted - 1e-9 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The exact share of every active node, by bisection instead of fractions.
fn shares(placement: &Placement) -> BTreeMap<NodeId, f64> {
    let zones = zones(placement);
    let sizes: Vec<usize> = zones.values().map(Vec::len).collect();
    let factor = usize::from(placement.replication_factor().get());
    let bounds = copies_by_zone(&sizes, factor);
    let q = f64::from(placement.partitions().get());
    let total = |level| -> f64 {
        zones
            .values()
            .zip(&bounds)
            .map(|(nodes, bounds)| clamped(level, nodes, q, *bounds))
            .sum()
    };
    let common = level(q * factor as f64, q, total);
    let mut shares = BTreeMap::new();
    for (nodes, bounds) in zones.values().zip(&bounds) {
        let wanted = clamped(common, nodes, q, *bounds);
        let own = level(wanted, q, |level| {
            nodes
                .iter()
                .map(|node| q.min(level * f64::from(node.capacity.get())))
                .sum()
        });
        for node in nodes {
            shares.insert(node.id, q.min(own * f64::from(node.capacity.get())));
        }
    }
    shares
}

/// Laws 1 to 3: distinct nodes, spread zones, balance.
fn assert_lawful(placement: &Placement) {
    let zones = zones(placement);
    let sizes: Vec<usize> = zones.values().map(Vec::len).collect();
    let factor = usize::from(placement.replication_factor().get());
    let bounds = copies_by_zone(&sizes, factor);
    for partition in placement.partitions().ids() {
        let owners = placement.owners(partition);
        let distinct: BTreeSet<_> = owners.iter().collect();
        assert_eq!(distinct.len(), factor, "partition {partition}");
        for (zone, (least, most)) in zones.keys().zip(&bounds) {
            let copies = owners
                .iter()
                .filter(|owner| placement.node(**owner).zone == **zone);
            let copies = copies.count();
            assert!(
                (*least..=*most).contains(&copies),
                "partition {partition}, {zone}: {copies}"
            );
        }
        if zones.len() >= factor {
            let covered: BTreeSet<_> = owners
                .iter()
                .map(|owner| &placement.node(*owner).zone)
                .collect();
            assert_eq!(covered.len(), factor, "partition {partition}");
        }
    }
    let held = held(placement);
    let shares = shares(placement);
    for node in placement.nodes() {
        let share = shares.get(&node.id).copied().unwrap_or(0.0);
        let vnodes = held[&node.id] as f64;
        assert!(
            (vnodes - share).abs() < 1.0 - 1e-6 || (vnodes - share).abs() < 1e-6,
            "{} has {vnodes}, its share is {share}",
            node.name
        );
    }
    for nodes in zones.values() {
        let mut by_capacity: BTreeMap<Capacity, BTreeSet<usize>> = BTreeMap::new();
        for node in nodes {
            by_capacity
                .entry(node.capacity)
                .or_default()
                .insert(held[&node.id]);
        }
        for (capacity, counts) in by_capacity {
            let spread = counts.last().unwrap() - counts.first().unwrap();
            assert!(
                spread <= 1,
                "equal nodes of capacity {capacity:?} have {counts:?}"
            );
        }
    }
}

/// Vnodes that change hands although the numbers alone do not ask for it.
fn needless_moves(current: &Placement, next: &Placement, plan: &TransferPlan) -> usize {
    let before = held(current);
    let gains = held(next)
        .into_iter()
        .map(|(id, vnodes)| vnodes.saturating_sub(before.get(&id).copied().unwrap_or(0)));
    plan.transfers().len() - gains.sum::<usize>()
}

/// The transfers lead from the current owners to the next, one owner at a time.
fn assert_transfers_lead_to(next: &Placement, current: &Placement, plan: &TransferPlan) {
    let ids = |placement: &Placement, partition| -> BTreeSet<NodeId> {
        let owners = placement.owners(partition).iter();
        owners.map(|owner| placement.node(*owner).id).collect()
    };
    let mut owners: BTreeMap<_, BTreeSet<NodeId>> = current
        .partitions()
        .ids()
        .map(|partition| (partition, ids(current, partition)))
        .collect();
    for transfer in plan.transfers() {
        let owners = owners.get_mut(&transfer.partition).unwrap();
        if let Some(from) = transfer.from {
            assert!(owners.remove(&from), "{transfer:?}");
        }
        assert!(owners.insert(transfer.to), "{transfer:?}");
    }
    for (partition, owners) in owners {
        assert_eq!(owners, ids(next, partition), "partition {partition}");
    }
}

/// Whether equal nodes can join and leave without further moves: in a single zone and with
/// one zone for each copy always. With more zones a vnode can pass to another zone only where
/// that zone has no copy, and a handful of vnodes need not include enough of those.
fn zones_leave_room(zones: usize, partition_bits: u32) -> bool {
    zones <= 3 || partition_bits >= 8
}

/// One change of the members.
#[derive(Clone, Debug)]
enum Change {
    Join { zone: usize, capacity: u32 },
    Leave { pick: usize },
    Drain { pick: usize },
    Resize { pick: usize, capacity: u32 },
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0..6usize, 1..=4u32).prop_map(|(zone, capacity)| Change::Join { zone, capacity }),
        2 => any::<usize>().prop_map(|pick| Change::Leave { pick }),
        1 => any::<usize>().prop_map(|pick| Change::Drain { pick }),
        1 => (any::<usize>(), 1..=4u32)
            .prop_map(|(pick, capacity)| Change::Resize { pick, capacity }),
    ]
}

fn apply(change: &Change, nodes: &mut Vec<Node>, fresh: usize) {
    match change {
        Change::Join { zone, capacity } => nodes.push(node(fresh, *zone, *capacity)),
        Change::Leave { pick } => {
            nodes.remove(pick % nodes.len());
        }
        Change::Drain { pick } => {
            let at = pick % nodes.len();
            nodes[at].state = NodeState::Draining;
        }
        Change::Resize { pick, capacity } => {
            let at = pick % nodes.len();
            nodes[at].capacity = Capacity(NonZeroU32::new(*capacity).unwrap());
        }
    }
}

/// 1 to 40 nodes in up to six zones of different sizes.
fn members() -> impl Strategy<Value = Vec<Node>> {
    (1..=6usize)
        .prop_flat_map(|zones| prop::collection::vec((0..zones, 1..=4u32), 1..=40))
        .prop_map(|nodes| {
            let numbered = nodes.into_iter().enumerate();
            numbered
                .map(|(number, (zone, capacity))| node(number, zone, capacity))
                .collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn a_founded_placement_is_lawful(nodes in members(), bits in 4..=10u32, factor in 1..=5u8) {
        match found(Uuid::nil(), HashSeed(1), q(bits), n(factor), &nodes) {
            Ok(placement) => assert_lawful(&placement),
            Err(error) => prop_assert_eq!(
                error,
                PlanError::TooFewNodes { active: nodes.len(), needed: usize::from(factor) }
            ),
        }
    }

    #[test]
    fn every_plan_of_a_history_is_lawful(
        nodes in members(),
        bits in 4..=9u32,
        factor in 1..=4u8,
        changes in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..8),
    ) {
        prop_assume!(nodes.len() >= usize::from(factor));
        let mut nodes = nodes;
        let mut fresh = 100;
        let mut current = founded(&nodes, q(bits), factor);
        for step in changes {
            let mut desired = nodes.clone();
            for change in step.iter().filter(|_| !nodes.is_empty()) {
                if !desired.is_empty() {
                    apply(change, &mut desired, fresh);
                    fresh += 1;
                }
            }
            let plan = match plan(Some(&current), &desired, q(bits), n(factor)) {
                Ok(plan) => plan,
                Err(PlanError::TooFewNodes { .. }) => continue,
                Err(error) => panic!("{error}"),
            };
            let next = plan.clone().after(&current).unwrap();
            assert_lawful(&next);
            assert_transfers_lead_to(&next, &current, &plan);
            let again = planned(&next, &desired);
            prop_assert!(again.changes_nothing(&next), "{:?}", again.transfers());
            nodes = desired;
            current = next;
        }
    }

    #[test]
    fn the_order_of_the_desired_nodes_is_nothing(
        (nodes, shuffled) in members().prop_flat_map(|nodes| {
            (Just(nodes.clone()), Just(nodes).prop_shuffle())
        }),
        bits in 4..=8u32,
    ) {
        let placement = founded(&nodes, q(bits), 1);
        prop_assert_eq!(&placement, &founded(&shuffled, q(bits), 1));
        let (fewer, fewer_shuffled): (Vec<Node>, Vec<Node>) = {
            let gone = nodes[0].id;
            let without = |nodes: &[Node]| -> Vec<Node> {
                nodes.iter().filter(|node| node.id != gone).cloned().collect()
            };
            (without(&nodes), without(&shuffled))
        };
        if !fewer.is_empty() {
            prop_assert_eq!(planned(&placement, &fewer), planned(&placement, &fewer_shuffled));
        }
    }

    #[test]
    fn an_equal_joiner_takes_its_share_and_nothing_else_moves(
        count in 3..=40usize,
        zones in prop::sample::select(vec![1usize, 3, 4, 5, 6]),
        bits in 4..=10u32,
    ) {
        prop_assume!(count >= zones && zones_leave_room(zones, bits));
        let current = founded(&equal_nodes(count, zones), q(bits), 3);
        let desired = equal_nodes(count + 1, zones);
        let plan = planned(&current, &desired);
        let joiner = desired[count].id;
        let elsewhere = plan.transfers().iter().filter(|it| it.to != joiner).count();
        prop_assert_eq!(elsewhere, 0, "of {}", plan.transfers().len());
        if zones == 1 {
            let share = (f64::from(q(bits).get()) * 3.0) / (count + 1) as f64;
            prop_assert!((plan.transfers().len() as f64 - share).abs() < 1.0);
        }
    }

    #[test]
    fn a_leavers_vnodes_fan_out_and_nothing_else_moves(
        count in 5..=40usize,
        zones in prop::sample::select(vec![1usize, 3, 4, 5, 6]),
        bits in 6..=10u32,
        pick in any::<usize>(),
    ) {
        prop_assume!(count > 2 * zones && zones_leave_room(zones, bits));
        // With more zones than copies, leave equal zones behind, and see `zones_leave_room`.
        let count = if zones > 3 { count / zones * zones + 1 } else { count };
        let pick = if zones > 3 { count - 1 } else { pick % count };
        let nodes = equal_nodes(count, zones);
        let current = founded(&nodes, q(bits), 3);
        let leaver = nodes[pick].id;
        let desired: Vec<Node> = nodes.iter().filter(|it| it.id != leaver).cloned().collect();
        let plan = planned(&current, &desired);
        let elsewhere = plan.transfers().iter().filter(|it| it.from != Some(leaver)).count();
        let excused = if zones > 3 { 2 + plan.transfers().len() / 10 } else { 0 };
        prop_assert!(elsewhere <= excused, "{elsewhere} of {}", plan.transfers().len());
        if zones == 1 {
            let even = plan.transfers().len() as f64 / desired.len() as f64;
            for node in &desired {
                let gain = plan.transfers().iter().filter(|it| it.to == node.id).count();
                prop_assert!((gain as f64 - even).abs() < 1.0, "{} gains {gain} of {even}", node.name);
            }
        }
    }

    #[test]
    fn without_zones_hardly_a_move_is_needless(
        nodes in members(),
        bits in 6..=9u32,
        changes in prop::collection::vec(change(), 1..8),
    ) {
        // With hardly more capacity than copies, nodes may own nearly the same partitions.
        prop_assume!(nodes.len() >= 15);
        let in_one_zone = |node: &mut Node| node.zone = Zone::from("everywhere");
        let mut nodes = nodes;
        nodes.iter_mut().for_each(in_one_zone);
        let mut current = founded(&nodes, q(bits), 3);
        for (number, change) in changes.iter().enumerate() {
            let mut desired = nodes.clone();
            apply(change, &mut desired, 100 + number);
            desired.iter_mut().for_each(in_one_zone);
            let Ok(plan) = plan(Some(&current), &desired, q(bits), n(3)) else { continue };
            let next = plan.clone().after(&current).unwrap();
            let needless = needless_moves(&current, &next, &plan);
            prop_assert!(needless <= 2 + plan.transfers().len() / 50, "{needless}: {change:?}");
            nodes = desired;
            current = next;
        }
    }
}

#[test]
fn the_fifth_node_takes_a_fifth() {
    let current = founded(&equal_nodes(4, 1), q(10), 3);
    let desired = equal_nodes(5, 1);
    let plan = planned(&current, &desired);
    assert!(
        plan.transfers()
            .iter()
            .all(|transfer| transfer.to == desired[4].id)
    );
    assert!(
        (614..=615).contains(&plan.transfers().len()),
        "{}",
        plan.transfers().len()
    );
    let givers: BTreeMap<_, usize> = plan.transfers().iter().fold(BTreeMap::new(), |mut by, it| {
        *by.entry(it.from).or_default() += 1;
        by
    });
    assert!(
        givers.values().all(|given| (153..=154).contains(given)),
        "{givers:?}"
    );
}

#[test]
fn a_drained_node_stays_a_member_without_vnodes() {
    let mut nodes = equal_nodes(5, 1);
    let current = founded(&nodes, q(8), 3);
    nodes[2].state = NodeState::Draining;
    let next = planned(&current, &nodes).after(&current).unwrap();
    assert_eq!(next.epoch(), current.epoch().next().unwrap());
    assert_eq!(held(&next)[&nodes[2].id], 0);
    assert_lawful(&next);
    nodes[2].state = NodeState::Active;
    let back = planned(&next, &nodes).after(&next).unwrap();
    assert_lawful(&back);
}

#[test]
fn more_copies_are_transfers_from_nobody() {
    let nodes = equal_nodes(6, 3);
    let current = founded(&nodes, q(6), 2);
    let plan = plan(Some(&current), &nodes, q(6), n(3)).unwrap();
    assert!(
        plan.transfers()
            .iter()
            .filter(|transfer| transfer.from.is_none())
            .count()
            >= 64
    );
    let next = plan.clone().after(&current).unwrap();
    assert_lawful(&next);
    assert_transfers_lead_to(&next, &current, &plan);
}

#[test]
fn fewer_copies_are_given_up_and_hardly_any_moves() {
    for zones in [1, 2, 3, 5] {
        let nodes = equal_nodes(10, zones);
        let current = founded(&nodes, q(8), 4);
        let plan = plan(Some(&current), &nodes, q(8), n(2)).unwrap();
        let next = plan.clone().after(&current).unwrap();
        assert_lawful(&next);
        assert!(
            plan.transfers().len() <= 8,
            "{zones}: {}",
            plan.transfers().len()
        );
        for partition in next.partitions().ids() {
            let kept = next.owners(partition).iter();
            let kept = kept.filter(|owner| current.is_owner(partition, **owner));
            let moved = plan
                .transfers()
                .iter()
                .filter(|it| it.partition == partition);
            assert_eq!(kept.count() + moved.count(), 2);
        }
    }
}

#[test]
fn what_is_fixed_is_refused() {
    let nodes = equal_nodes(4, 1);
    let current = founded(&nodes, q(6), 3);
    let refused = |bits, factor, nodes: &[Node]| {
        plan(Some(&current), nodes, q(bits), n(factor))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(7, 3, &nodes),
        "128 partitions are desired, but the ring was founded with 64"
    );
    assert!(refused(6, 3, &nodes[..2]).starts_with("2 active nodes for 3 copies"));
    let twice = [nodes.clone(), nodes.clone()].concat();
    assert!(refused(6, 3, &twice).contains("is listed twice"));
}

#[test]
fn absent_nodes_cost_the_partitions_they_share() {
    let nodes = equal_nodes(5, 1);
    let placement = founded(&nodes, q(8), 3);
    let absent = [nodes[0].id, nodes[3].id];
    let by_hand: Vec<_> = placement
        .partitions()
        .ids()
        .filter(|partition| {
            let owners = placement.owners(*partition).iter();
            owners
                .filter(|owner| absent.contains(&placement.node(**owner).id))
                .count()
                == 2
        })
        .collect();
    assert!(!by_hand.is_empty());
    assert_eq!(
        partitions_below(&placement, &absent, 2).collect::<Vec<_>>(),
        by_hand
    );
    assert_eq!(partitions_below(&placement, &absent[..1], 2).count(), 0);
    assert_eq!(
        partitions_below(&placement, &[NodeId(Uuid::nil())], 3).count(),
        0
    );
}
