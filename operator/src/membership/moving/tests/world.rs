//! An API server and nodes in one process, for tests of what is decided.

use super::*;
use crate::fixtures::moves_done;

#[derive(Clone)]
pub(super) struct Disk {
    pub(super) id: NodeId,
    pub(super) zone: String,
    pub(super) holds: Option<Placement>,
    pub(super) up: bool,
    pub(super) hints: u64,
    pub(super) drain: bool,
    pub(super) recorded: NodeId,
    pub(super) missing_since: Option<Timestamp>,
    /// Its claim is gone, and no other runs yet.
    pub(super) gone: bool,
}

/// The API server and the nodes.
#[derive(Clone)]
pub(super) struct World {
    pub(super) ring: Placement,
    pub(super) disks: BTreeMap<String, Disk>,
    pub(super) desired: Desired,
    pub(super) now: Timestamp,
    pub(super) destroyed: BTreeSet<NodeId>,
    pub(super) approved: Option<String>,
    /// Nodes that nobody but the operator sees.
    pub(super) unseen: BTreeSet<String>,
    /// Nodes that do nothing for their moves.
    pub(super) idle: BTreeSet<String>,
    pub(super) next_id: u128,
    pub(super) zones: usize,
    pub(super) removed: Vec<String>,
}

pub(super) fn desired(nodes: usize) -> Desired {
    Desired {
        cluster: "orders".into(),
        namespace: "shop".into(),
        nodes: (0..nodes)
            .map(|node| (name(node), Seat { capacity: 1 }))
            .collect(),
        partitions: PARTITIONS,
        replication_factor: 3,
        rules: Rules {
            read_min: 2,
            write_min: 2,
        },
        limits: MoveLimits {
            per_node: 4,
            overall: 16,
        },
        bytes_per_second: 1 << 20,
        replace_after: REPLACE_AFTER,
        approval: Approval::Automatic,
    }
}

impl World {
    /// A founded ring, its nodes spread over so many zones in turn.
    pub(super) fn new(nodes: usize, zones: usize) -> Self {
        let desired = desired(nodes);
        let founders: Vec<Founder> = (0..nodes)
            .map(|node| Founder {
                name: name(node),
                id: NodeId(Uuid::from_u128(node as u128 + 1)),
                zone: format!("z{}", node % zones),
                capacity: 1,
            })
            .collect();
        let ring = found(&founders, &desired, Uuid::from_u128(9), 5).unwrap();
        let mut world = Self {
            disks: BTreeMap::new(),
            desired,
            now: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24),
            destroyed: BTreeSet::new(),
            approved: None,
            unseen: BTreeSet::new(),
            idle: BTreeSet::new(),
            next_id: 1_000,
            zones,
            removed: Vec::new(),
            ring: ring.clone(),
        };
        for founder in founders {
            let mut disk = disk(founder.id, &founder.zone);
            disk.holds = Some(ring.clone());
            world.disks.insert(founder.name, disk);
        }
        world
    }

    pub(super) fn scale(&mut self, nodes: usize) {
        self.desired.nodes = desired(nodes).nodes;
        self.start_pods();
    }

    /// Nodes that are to exist and do not get an empty disk.
    pub(super) fn start_pods(&mut self) {
        for node in 0..self.desired.nodes.len() {
            if !self.disks.contains_key(&name(node)) {
                self.next_id += 1;
                let id = NodeId(Uuid::from_u128(self.next_id));
                let zone = format!("z{}", node % self.zones);
                self.disks.insert(name(node), disk(id, &zone));
            }
        }
    }

    /// An empty disk in the place of the node's.
    pub(super) fn wipe(&mut self, node: usize) {
        self.next_id += 1;
        let id = NodeId(Uuid::from_u128(self.next_id));
        let disk = self.disks.get_mut(&name(node)).unwrap();
        (disk.id, disk.recorded, disk.holds) = (id, id, None);
        disk.up = true;
    }

    pub(super) fn disk(&mut self, node: usize) -> &mut Disk {
        self.disks.get_mut(&name(node)).unwrap()
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.note_missing();
        self.now += SignedDuration::try_from(time).unwrap();
    }

    /// As the operator writes it to the KVNodes.
    pub(super) fn note_missing(&mut self) {
        for member in self.ring.nodes() {
            if let Some(disk) = self.disks.get_mut(&member.name) {
                let there = disk.up && disk.id == member.id;
                disk.missing_since = if there {
                    None
                } else {
                    disk.missing_since.or(Some(self.now))
                };
            }
        }
    }

    pub(super) fn observed(&self, offered: &BTreeSet<String>) -> Observed {
        let seen = |(name, disk): (&String, &Disk)| {
            let node = ObservedNode {
                zone: Some(disk.zone.clone()),
                recorded: Some(disk.recorded),
                claim_changed: disk.gone,
                report: disk.up.then(|| self.report(name, disk)),
                moves: disk.up.then(|| self.moves(name, disk)),
                missing_since: disk.missing_since,
                drain: disk.drain,
            };
            (name.clone(), node)
        };
        Observed {
            ring: Some(self.ring.clone()),
            founded_before: true,
            nodes: self.disks.iter().map(seen).collect(),
            now: self.now,
            watched_since: Timestamp::UNIX_EPOCH,
            destroyed: self.destroyed.clone(),
            approved: self.approved.clone(),
            offered: offered.clone(),
        }
    }

    pub(super) fn report(&self, name: &str, disk: &Disk) -> NodeReport {
        let others = self.disks.iter();
        let others = others
            .filter(|(other, it)| it.up && it.holds.is_some() && !self.unseen.contains(*other));
        let held = disk.holds.as_ref();
        let vnodes = held.and_then(|held| Some((held, held.index_of(disk.id)?)));
        let vnodes = vnodes.map_or(0, |(held, me)| held.partitions_held_by(me).count());
        NodeReport {
            id: disk.id,
            name: name.to_owned(),
            holds: held.map(|held| HeldPlacement {
                cluster_id: held.cluster_id(),
                epoch: held.epoch(),
                fingerprint: held.fingerprint(),
            }),
            phase: NodePhase::Serving,
            vnodes: u32::try_from(vnodes).unwrap(),
            data_bytes: 1_000 * vnodes as u64,
            disk_free_bytes: 0,
            sees: if held.is_some() && !self.unseen.contains(name) {
                others.map(|(_, it)| it.id).collect()
            } else {
                BTreeSet::new()
            },
            hints: disk.hints,
            comparisons_overdue: 0,
            generation: 1,
            version: String::new(),
        }
    }

    pub(super) fn moves(&self, name: &str, disk: &Disk) -> MovesReport {
        let Some(held) = &disk.holds else {
            return MovesReport::default();
        };
        let mut done = moves_done(held, disk.id);
        if self.idle.contains(name) {
            done.moves.clear();
        }
        done
    }

    pub(super) fn plan(&self) -> Plan {
        next(&self.observed(&BTreeSet::new()), &self.desired)
    }

    pub(super) fn moving(&self) -> Moving {
        self.plan().moving.expect("something is under way")
    }

    /// One run of the operator, killed after so many writes. Says whether it wrote anything.
    pub(super) fn round(&mut self, mut writes: usize) -> bool {
        let mut offered = BTreeSet::new();
        let (mut recorded, mut changed) = (false, false);
        while writes > 0 {
            let plan = next(&self.observed(&offered), &self.desired);
            match plan.step {
                Step::Record(_) if recorded => break,
                Step::Record(placement) => {
                    assert_eq!(placement.epoch().0, self.ring.epoch().0 + 1);
                    self.check(&placement);
                    self.ring = *placement;
                    recorded = true;
                    writes -= 1;
                }
                Step::HandOver(nodes) => {
                    for node in nodes {
                        if writes > 0 {
                            self.disks.get_mut(&node).unwrap().holds = Some(self.ring.clone());
                            writes -= 1;
                        }
                        offered.insert(node);
                    }
                }
                Step::RemoveSurplus(nodes) => {
                    for node in nodes {
                        let is_member = self.ring.nodes().iter().any(|it| it.name == node);
                        assert!(!is_member, "{node} is still in the ring");
                        self.disks.remove(&node);
                        self.removed.push(node);
                    }
                    writes -= 1;
                }
                Step::Hold => break,
                other => panic!("{other:?}"),
            }
            changed = true;
        }
        self.note_missing();
        self.start_pods();
        changed
    }

    /// What no step may do.
    pub(super) fn check(&self, next: &Placement) {
        for it in next.moves() {
            let new = self
                .ring
                .move_of(it.partition())
                .is_none_or(|old| old.id != it.id);
            if let Some(joins) = it.add.filter(|_| new) {
                let joins = next.node(joins);
                assert_eq!(
                    joins.state,
                    NodeState::Active,
                    "{} is given vnodes",
                    joins.name
                );
            }
        }
    }

    /// Runs until nothing is left to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..MAX_ROUNDS {
            let changed = self.round(usize::MAX);
            if !changed && self.plan().moving.is_none() {
                return;
            }
        }
        panic!("does not settle: {:#?}", self.plan());
    }

    /// So many runs, or fewer if nothing changes any more.
    pub(super) fn rounds(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.round(usize::MAX);
        }
    }

    pub(super) fn members(&self) -> BTreeSet<String> {
        self.ring
            .nodes()
            .iter()
            .map(|node| node.name.clone())
            .collect()
    }

    pub(super) fn vnodes(&self) -> Vec<usize> {
        let nodes = self.ring.node_indexes();
        nodes
            .map(|node| self.ring.partitions_of(node).count())
            .collect()
    }

    pub(super) fn is_as_desired(&self) {
        let wanted: BTreeSet<String> = self.desired.nodes.keys().cloned().collect();
        assert_eq!(self.members(), wanted);
        assert!(self.ring.moves().is_empty());
        for node in self.ring.nodes() {
            assert_eq!(node.state, NodeState::Active, "{}", node.name);
            assert_eq!(self.disks[&node.name].id, node.id, "{}", node.name);
        }
        assert_eq!(self.disks.keys().cloned().collect::<BTreeSet<_>>(), wanted);
    }
}

pub(super) fn disk(id: NodeId, zone: &str) -> Disk {
    Disk {
        id,
        zone: zone.to_owned(),
        holds: None,
        up: true,
        hints: 0,
        drain: false,
        recorded: id,
        missing_since: None,
        gone: false,
    }
}
