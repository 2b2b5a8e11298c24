//! Repeating batch and advance ends in what is desired, whatever happened before.

use std::collections::{BTreeMap, BTreeSet};

use annulus_ring::{
    Batch, Desired, Evidence, MoveLimits, Node, NodeId, NodeState, PartitionId, Placement,
    PlanError, RingEpoch, Standing, advance, next_batch, outline, plan,
};
use proptest::prelude::*;

use crate::cluster::{RULES, capacity, equal_nodes, founded, held, n, node, q, willing};

const LIMITS: MoveLimits = MoveLimits {
    per_node: 4,
    overall: 16,
};

/// A ring whose operator is started anew for every epoch.
struct Ring {
    placement: Placement,
    nodes: Vec<Node>,
    factor: u8,
    gone: BTreeSet<NodeId>,
    away: BTreeSet<NodeId>,
    /// Moves begun, and epochs written.
    begun: usize,
    epochs: usize,
    limits: MoveLimits,
}

impl Ring {
    fn new(nodes: Vec<Node>, bits: u32, factor: u8) -> Self {
        Self {
            placement: founded(&nodes, q(bits), factor),
            nodes,
            factor,
            gone: BTreeSet::new(),
            away: BTreeSet::new(),
            begun: 0,
            epochs: 0,
            limits: LIMITS,
        }
    }

    fn desired(&self) -> Desired<'_> {
        Desired {
            nodes: &self.nodes,
            replication_factor: n(self.factor),
            gone: &self.gone,
            away: &self.away,
        }
    }

    /// One epoch; `false` if there is nothing to do with this evidence.
    fn round(&mut self, evidence: &Evidence) -> bool {
        let silent = |node: &NodeId| evidence.standing(*node) != Standing::Alive;
        let known = evidence.0.keys().copied();
        self.away = known.filter(silent).collect();
        let batch = match next_batch(&self.placement, &self.desired(), self.limits) {
            Ok(batch) => batch,
            Err(PlanError::TooFewNodes { .. }) => Batch::default(),
            Err(error) => panic!("{error}"),
        };
        let mut changes = advance(&self.placement, evidence, RULES, &batch.cancel).changes;
        changes.extend(batch.changes);
        if changes.is_empty() {
            return false;
        }
        let next = self.placement.apply(&changes).unwrap();
        assert_adjacent(&self.placement, &next);
        self.begun += next
            .moves()
            .iter()
            .filter(|it| it.id.epoch == next.epoch())
            .count();
        let begun = next.moves().iter().filter(|it| it.id.epoch == next.epoch());
        for node in begun.flat_map(|it| it.add.into_iter().chain(it.remove.filter(|_| !it.lost))) {
            assert!(!self.away.contains(&next.node(node).id));
        }
        self.epochs += 1;
        self.placement = next;
        self.assert_within_limits();
        true
    }

    fn assert_within_limits(&self) {
        let open = self.placement.moves().iter();
        let open = open.filter(|it| it.stage.can_be_cancelled());
        let mut into: BTreeMap<_, usize> = BTreeMap::new();
        for it in open.clone() {
            *into.entry(it.add).or_default() += 1;
        }
        into.remove(&None);
        assert!(
            into.values().all(|count| *count <= self.limits.per_node),
            "{into:?}"
        );
        assert!(open.count() <= self.limits.overall);
    }

    /// Goes on with willing nodes until nothing is left to do.
    fn settle(&mut self) {
        let bound = 40 * (self.placement.partitions().get() as usize + 10);
        for _ in 0..bound {
            if !self.round(&willing(&self.placement, &self.gone)) {
                return;
            }
        }
        panic!(
            "not settled after {bound} epochs: {:?}",
            self.placement.moves()
        );
    }

    fn assert_as_desired(&self) {
        let evidence = willing(&self.placement, &self.gone);
        let waits = advance(&self.placement, &evidence, RULES, &BTreeSet::new()).waits;
        let waits: Vec<String> = waits.iter().map(ToString::to_string).collect();
        assert_eq!(waits, Vec::<String>::new());
        let nodes: Vec<Node> = self.nodes.clone();
        let again = plan(
            Some(&self.placement),
            &nodes,
            self.placement.partitions(),
            n(self.factor),
        );
        let again = again.unwrap();
        assert!(
            again.changes_nothing(&self.placement),
            "{:?}",
            again.transfers()
        );
        assert!(
            outline(&self.placement, &self.desired())
                .unwrap()
                .is_empty()
        );
    }
}

/// Two placements that follow each other: of each partition at most one owner joins or leaves the
/// row, the stage makes one step, and nobody is needed who was not told an epoch before.
fn assert_adjacent(before: &Placement, after: &Placement) {
    assert_eq!(before.epoch().next(), Some(after.epoch()));
    let ids = |placement: &Placement, partition: PartitionId| -> BTreeSet<NodeId> {
        let owners = placement.owners(partition).iter();
        owners.map(|owner| placement.node(*owner).id).collect()
    };
    for partition in before.partitions().ids() {
        let (old, new) = (ids(before, partition), ids(after, partition));
        assert!(old.difference(&new).count() <= 1 && new.difference(&old).count() <= 1);
        if old != new {
            let it = after.move_of(partition).unwrap();
            assert_eq!(it.since, after.epoch(), "a row changes by a stage");
        }
        if let (Some(was), Some(is)) = (before.move_of(partition), after.move_of(partition)) {
            assert_eq!(was.id, is.id, "a move is closed before the next begins");
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Join {
        zone: usize,
        capacity: u32,
    },
    Leave {
        pick: usize,
    },
    Drain {
        pick: usize,
    },
    Undrain,
    Resize {
        pick: usize,
        capacity: u32,
    },
    Zone {
        pick: usize,
        zone: usize,
    },
    Die {
        pick: usize,
    },
    Factor {
        factor: u8,
    },
    /// Some epochs pass, with nodes that have done only part of what they could.
    Run {
        rounds: usize,
        seed: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..4usize, 1..=3u32).prop_map(|(zone, capacity)| Event::Join { zone, capacity }),
        2 => any::<usize>().prop_map(|pick| Event::Leave { pick }),
        2 => any::<usize>().prop_map(|pick| Event::Drain { pick }),
        2 => Just(Event::Undrain),
        1 => (any::<usize>(), 1..=3u32).prop_map(|(pick, capacity)| Event::Resize { pick, capacity }),
        1 => (any::<usize>(), 0..4usize).prop_map(|(pick, zone)| Event::Zone { pick, zone }),
        1 => any::<usize>().prop_map(|pick| Event::Die { pick }),
        1 => (1..=4u8).prop_map(|factor| Event::Factor { factor }),
        8 => (1..20usize, any::<u64>()).prop_map(|(rounds, seed)| Event::Run { rounds, seed }),
    ]
}

/// Of what willing nodes report, some is not done yet and some nodes are not heard of.
fn partly(mut evidence: Evidence, seed: &mut u64) -> Evidence {
    let mut chance = |of: u64| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*seed >> 33).is_multiple_of(of)
    };
    for report in evidence.0.values_mut() {
        if report.standing == Standing::Alive && chance(10) {
            report.standing = if chance(3) {
                Standing::GivenUp
            } else {
                Standing::Silent
            };
        }
        if chance(4) {
            report.acked = RingEpoch(report.acked.0.saturating_sub(2));
        }
        for it in &mut report.moves {
            it.ready &= !chance(3);
            it.cleaned &= !chance(3);
            for list in [&mut it.streamed.from, &mut it.verified, &mut it.drained] {
                list.retain(|_| !chance(3));
            }
        }
    }
    evidence
}

impl Ring {
    fn happen(&mut self, event: &Event, fresh: usize) {
        let pick_of = |pick: usize, nodes: &[Node]| pick % nodes.len();
        match *event {
            Event::Join {
                zone,
                capacity: weight,
            } => {
                let mut joiner = node(fresh, zone);
                joiner.capacity = capacity(weight);
                self.nodes.push(joiner);
            }
            Event::Leave { pick } if self.nodes.len() > 1 => {
                self.nodes.remove(pick_of(pick, &self.nodes));
            }
            Event::Drain { pick } => {
                let at = pick_of(pick, &self.nodes);
                self.nodes[at].state = NodeState::Draining;
            }
            Event::Undrain => {
                let draining = self.nodes.iter_mut();
                draining.for_each(|node| node.state = NodeState::Active);
            }
            Event::Resize {
                pick,
                capacity: weight,
            } => {
                let at = pick_of(pick, &self.nodes);
                self.nodes[at].capacity = capacity(weight);
            }
            Event::Zone { pick, zone } => {
                let at = pick_of(pick, &self.nodes);
                self.nodes[at].zone = node(0, zone).zone;
            }
            // A dead node is removed from what is desired; its disk never returns.
            Event::Die { pick } if self.nodes.len() > 1 && self.gone.is_empty() => {
                let dead = self.nodes.remove(pick_of(pick, &self.nodes));
                self.gone.insert(dead.id);
            }
            Event::Factor { factor } => self.factor = factor,
            Event::Run { rounds, mut seed } => {
                for _ in 0..rounds {
                    let evidence = partly(willing(&self.placement, &self.gone), &mut seed);
                    self.round(&evidence);
                }
            }
            Event::Leave { .. } | Event::Die { .. } => {}
        }
    }

    /// So many living nodes that every partition can have its copies.
    fn make_possible(&mut self, mut fresh: usize) {
        let active = |it: &Self| {
            let active = it
                .nodes
                .iter()
                .filter(|node| node.state == NodeState::Active);
            active.count()
        };
        while active(self) < usize::from(self.factor) {
            self.nodes.push(node(fresh, fresh % 4));
            fresh += 1;
        }
    }
}

#[test]
fn a_node_that_is_away_is_left_in_peace() {
    let mut ring = Ring::new(equal_nodes(5, 1), 6, 3);
    ring.nodes.push(node(5, 0));
    let mut evidence = willing(&ring.placement, &ring.gone);
    while ring.placement.moves().is_empty() {
        ring.round(&evidence);
    }
    let joiner = ring.nodes[5].id;
    let mut ended = 0;
    for _ in 0..20 {
        evidence = willing(&ring.placement, &ring.gone);
        evidence.0.get_mut(&joiner).unwrap().standing = Standing::GivenUp;
        ended += usize::from(!ring.round(&evidence));
    }
    assert_eq!(
        ring.placement.moves(),
        [],
        "called off, and not begun again"
    );
    assert!(ended > 15, "no epoch is written for nothing");
    ring.settle();
    ring.assert_as_desired();
}

#[test]
fn the_fifth_node_joins_in_few_epochs() {
    let mut ring = Ring::new(equal_nodes(4, 1), 10, 3);
    ring.limits = MoveLimits::default();
    ring.nodes.push(node(4, 0));
    ring.settle();
    ring.assert_as_desired();
    let joined = held(&ring.placement)[&ring.nodes[4].id];
    println!(
        "{} moves in {} epochs, an API write each",
        ring.begun, ring.epochs
    );
    assert_eq!(ring.begun, joined, "nothing else moved");
    assert!((614..=615).contains(&joined) && ring.epochs <= 150);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_it_ends_as_desired(
        count in 3..=8usize,
        zones in 1..=4usize,
        bits in 2..=5u32,
        factor in 1..=3u8,
        events in prop::collection::vec(event(), 1..16),
    ) {
        let mut ring = Ring::new(equal_nodes(count, zones), bits, factor);
        for (number, event) in events.iter().enumerate() {
            ring.happen(event, 100 + number);
        }
        ring.make_possible(500);
        ring.settle();
        ring.assert_as_desired();
    }

    #[test]
    fn a_join_makes_the_moves_of_its_plan_and_no_other(
        count in 3..=12usize,
        zones in prop::sample::select(vec![1usize, 3]),
        bits in 4..=8u32,
        joiners in 1..=2usize,
    ) {
        let mut ring = Ring::new(equal_nodes(count, zones), bits, 3);
        ring.nodes = equal_nodes(count + joiners, zones);
        let planned = outline(&ring.placement, &ring.desired()).unwrap().len();
        ring.settle();
        ring.assert_as_desired();
        prop_assert!(ring.begun <= planned + joiners, "{} of {planned}", ring.begun);
    }

    #[test]
    fn a_cancelled_drain_ends_where_it_began(
        count in 4..=10usize,
        bits in 3..=6u32,
        pick in any::<usize>(),
        rounds in 1..12usize,
    ) {
        let mut ring = Ring::new(equal_nodes(count, 1), bits, 3);
        let before = ring.placement.clone();
        let pick = pick % count;
        ring.nodes[pick].state = NodeState::Draining;
        for _ in 0..rounds {
            ring.round(&willing(&ring.placement, &ring.gone));
        }
        ring.nodes[pick].state = NodeState::Active;
        let begun = ring.begun;
        let committed = ring.placement.moves().iter().filter(|it| !it.stage.can_be_cancelled());
        let over = begun - ring.placement.moves().len() + committed.count();
        ring.settle();
        ring.assert_as_desired();
        prop_assert!(ring.begun - begun <= over + 1, "{} for {over} that were too late", ring.begun - begun);
        if over == 0 {
            prop_assert_eq!(held(&before), held(&ring.placement));
        }
    }
}
