//! A model of replicas, coordinators and an operator around one partition, with the crate's own
//! sets, stage machine and barrier.
//!
//! A key's state is the set of writes that a replica has; merging is union. Coordinators go by any
//! epoch that was ever published, messages and snapshots arrive whenever, replicas learn and
//! acknowledge epochs whenever, the operator sees what it polled some time ago. At most one disk is
//! lost. Checked: a read that succeeds has every write that was acknowledged before it began; a
//! leaver deletes nothing that new owners lack; when a move is over, each acknowledged write is on
//! W of the owners. VERIFY moves no data here where a joining owner has streamed: what is left of
//! the protocol must do without. Barriers are `exhaustive.rs`'s affair: what a missing one lets
//! through takes more coincidences than random histories have.

mod operator;
mod replica;

use annulus_ring::{
    Evidence, MoveReport, NodeId, NodeIndex, PartitionId, Placement, PlacementDocument, RingEpoch,
    Standing,
};

use crate::cluster::{equal_nodes, founded, n, q};

/// The only partition.
const P: PartitionId = PartitionId(0);

/// Nodes in the cluster; the owners are the first, the joining owner is the fourth.
const NODES: usize = 5;
const JOINER: usize = 3;

/// At most so many: the bits of a set.
const OPERATIONS: usize = 128;

/// Steps after the move.
const AFTERWARDS: usize = 200;

/// Weights of: operation, delivery, apply, learning, acknowledgement, work, poll, operator,
/// misfortune.
const EVEN: [usize; 9] = [1, 5, 4, 3, 4, 4, 4, 2, 1];

/// Many operations, and replicas that are slow to learn.
const BUSY: [usize; 9] = [3, 14, 8, 1, 4, 6, 6, 3, 1];

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// Applies admitted before an epoch was learned are waited for, but not checked again: not
    /// needed by what is checked here, either is enough for acknowledged writes.
    OnlyWait,
    /// They are checked again, but not waited for: a leaver may get one after it drained.
    OnlyCheckAfter,
    NeitherWaitNorCheckAfter,
    NoFence,
    ReadsNotFenced,
    WritesNotFenced,
    NoJointQuorum,
    SnapshotBeforeBarrier,
    NoDrain,
    CleanupBeforeCommit,
    OneSurvivorIsEnough,
}

/// What kind of move is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Swap,
    /// The leaver's disk is lost before.
    Replace,
    AddOnly,
    RemoveOnly,
}

#[derive(Clone, Debug)]
struct Replica {
    held: RingEpoch,
    acked: RingEpoch,
    /// Requests stamped older are refused.
    fence: RingEpoch,
    data: u128,
    /// Admitted, not applied: the operation and its stamp.
    applies: Vec<(usize, RingEpoch)>,
    /// Taken, not merged: the source and its data.
    snapshots: Vec<(usize, u128)>,
    report: Option<MoveReport>,
    standing: Standing,
}

#[derive(Clone, Debug)]
struct Operation {
    is_write: bool,
    stamp: RingEpoch,
    unsent: Vec<usize>,
    answered: Vec<usize>,
    /// Of a read: what it has seen, and what it must see.
    seen: u128,
    must_see: u128,
    over: bool,
}

/// One history.
#[expect(clippy::struct_excessive_bools, reason = "what happened and what may")]
struct World {
    mistake: Mistake,
    kind: Kind,
    random: u64,
    /// How often what happens: see [`World::step`].
    pace: [usize; 9],
    /// Whether minds are changed.
    fickle: bool,
    /// By epoch, from 1.
    published: Vec<Placement>,
    replicas: Vec<Replica>,
    evidence: Evidence,
    operations: Vec<Operation>,
    acked: u128,
    began: bool,
    cancelled: bool,
    committed: bool,
}

/// What was broken.
type Violation = String;

impl World {
    fn new(kind: Kind, mistake: Mistake, seed: u64) -> Self {
        let founded = founded(&equal_nodes(NODES, 1), q(0), 3);
        let owners: &[u16] = if kind == Kind::AddOnly {
            &[0, 1, u16::MAX]
        } else {
            &[0, 1, 2]
        };
        let document = PlacementDocument {
            owners: owners.iter().copied().map(NodeIndex).collect(),
            replication_factor: n(3),
            fingerprint: None,
            ..PlacementDocument::from(&founded)
        };
        let first = Placement::try_from(document).unwrap();
        let replica = Replica {
            held: first.epoch(),
            acked: first.epoch(),
            fence: RingEpoch(0),
            data: 0,
            applies: Vec::new(),
            snapshots: Vec::new(),
            report: None,
            standing: Standing::Alive,
        };
        Self {
            mistake,
            kind,
            pace: if seed.is_multiple_of(2) { BUSY } else { EVEN },
            fickle: seed.is_multiple_of(3),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            replicas: vec![replica; NODES],
            published: vec![first],
            evidence: Evidence::default(),
            operations: Vec::new(),
            acked: 0,
            began: false,
            cancelled: false,
            committed: false,
        }
    }

    /// xorshift64*.
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let mixed = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(mixed).unwrap() % bound
    }

    fn current(&self) -> &Placement {
        self.published.last().unwrap()
    }

    fn at(&self, epoch: RingEpoch) -> &Placement {
        &self.published[usize::try_from(epoch.0).unwrap() - 1]
    }

    fn id(&self, node: usize) -> NodeId {
        self.current().nodes()[node].id
    }

    fn is_alive(&self, node: usize) -> bool {
        self.replicas[node].standing == Standing::Alive
    }

    /// Until some time after the move, or patience ends.
    fn run(&mut self, steps: usize) -> Result<(), Violation> {
        let mut left = steps;
        let mut over = false;
        while left > 0 {
            self.step()?;
            left -= 1;
            if !over && self.began && self.current().moves().is_empty() {
                self.check_copies()?;
                over = true;
                left = left.min(AFTERWARDS);
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Violation> {
        let node = self.below(NODES);
        let mut ticket = self.below(self.pace.iter().sum());
        let event = self.pace.iter().position(|weight| {
            let drawn = ticket < *weight;
            ticket = ticket.wrapping_sub(*weight);
            drawn
        });
        match event.unwrap() {
            0 => self.start_operation(),
            1 => self.deliver()?,
            2 => self.finish_apply(node),
            3 => self.learn_some(node),
            4 => self.acknowledge(node),
            5 => self.work(node)?,
            6 => self.poll(node),
            7 => self.operate(),
            _ => self.misfortune(node),
        }
        Ok(())
    }

    // Coordinators.

    fn start_operation(&mut self) {
        if self.operations.len() >= OPERATIONS {
            return;
        }
        let is_write = self.below(2) == 0;
        // Mostly one of the latest epochs, sometimes any.
        let newest = self.published.len();
        let reach = if self.below(4) == 0 {
            newest
        } else {
            newest.min(3)
        };
        let stamp = RingEpoch((newest - self.below(reach)) as u64);
        let must_see = self.acked;
        self.operations.push(Operation {
            is_write,
            stamp,
            unsent: Vec::new(),
            answered: Vec::new(),
            seen: 0,
            must_see,
            over: false,
        });
        self.address(self.operations.len() - 1);
    }

    /// Sends go to everybody that the operation's epoch says.
    fn address(&mut self, at: usize) {
        let operation = &self.operations[at];
        let placement = self.at(operation.stamp);
        let targets: Vec<usize> = if operation.is_write {
            placement.write_sets(P).targets().map(place).collect()
        } else {
            placement.readers(P).iter().copied().map(place).collect()
        };
        let operation = &mut self.operations[at];
        operation.unsent = targets;
        operation.answered.clear();
        operation.seen = 0;
    }

    fn deliver(&mut self) -> Result<(), Violation> {
        if self.operations.is_empty() {
            return Ok(());
        }
        let at = self.below(self.operations.len());
        let unsent = self.operations[at].unsent.len();
        if unsent == 0 || self.operations[at].over {
            return Ok(());
        }
        let pick = self.below(unsent);
        let node = self.operations[at].unsent.swap_remove(pick);
        if !self.is_alive(node) || self.below(12) == 0 {
            return Ok(());
        }
        let (stamp, is_write) = (self.operations[at].stamp, self.operations[at].is_write);
        if stamp > self.replicas[node].held {
            self.learn(node, stamp);
        }
        if self.is_fenced(node, stamp, is_write) {
            self.refused(at);
        } else if is_write {
            self.replicas[node].applies.push((at, stamp));
        } else {
            self.operations[at].seen |= self.replicas[node].data;
            self.operations[at].answered.push(node);
            self.conclude_read(at)?;
        }
        Ok(())
    }

    fn is_fenced(&self, node: usize, stamp: RingEpoch, is_write: bool) -> bool {
        let off = match self.mistake {
            Mistake::NoFence => true,
            Mistake::ReadsNotFenced => !is_write,
            Mistake::WritesNotFenced => is_write,
            _ => false,
        };
        !off && stamp < self.replicas[node].fence
    }

    /// Tries again by the newest epoch, with the same state.
    fn refused(&mut self, at: usize) {
        self.operations[at].stamp = self.current().epoch();
        self.address(at);
    }

    fn conclude_read(&mut self, at: usize) -> Result<(), Violation> {
        let operation = &self.operations[at];
        let readers = self.at(operation.stamp).readers(P).len();
        if operation.answered.len() < quorum(readers) {
            return Ok(());
        }
        let missed = operation.must_see & !operation.seen;
        let stamp = operation.stamp;
        self.operations[at].over = true;
        if missed == 0 {
            return Ok(());
        }
        let epoch = self.current().epoch();
        Err(format!(
            "a read by epoch {stamp} of {epoch} missed {missed:b}"
        ))
    }

    fn conclude_write(&mut self, at: usize) {
        let operation = &self.operations[at];
        let sets = self.at(operation.stamp).write_sets(P);
        let mut needed: Vec<_> = sets.iter().collect();
        if self.mistake == Mistake::NoJointQuorum {
            needed.truncate(1);
        }
        let reached = needed.into_iter().all(|set| {
            let acks = set
                .iter()
                .filter(|it| operation.answered.contains(&place(*it)));
            acks.count() >= quorum(set.len())
        });
        if reached {
            self.operations[at].over = true;
            self.acked |= 1 << at;
        }
    }

    /// After the move: each acknowledged write is on W owners, less those whose disk was lost.
    fn check_copies(&self) -> Result<(), Violation> {
        let owners: Vec<usize> = self
            .current()
            .owners(P)
            .iter()
            .copied()
            .map(place)
            .collect();
        let lost = owners.iter().filter(|it| !self.is_alive(**it)).count();
        for at in (0..OPERATIONS).filter(|at| self.acked & (1 << at) != 0) {
            let has = |it: &&usize| self.replicas[**it].data & (1 << at) != 0;
            let copies = owners.iter().filter(has).count();
            if copies + lost < quorum(owners.len()) {
                return Err(format!(
                    "write {at} is on {copies} of the owners {owners:?}"
                ));
            }
        }
        Ok(())
    }
}

fn quorum(owners: usize) -> usize {
    owners / 2 + 1
}

fn place(node: NodeIndex) -> usize {
    usize::from(node.0)
}

fn index(node: usize) -> NodeIndex {
    NodeIndex(u16::try_from(node).unwrap())
}

const KINDS: [Kind; 4] = [Kind::Swap, Kind::Replace, Kind::AddOnly, Kind::RemoveOnly];

/// Histories until one is broken, and what broke it; and how many reached COMMIT.
fn histories(mistake: Mistake, count: u64) -> (Option<(Kind, u64, Violation)>, u64) {
    let mut committed = 0;
    for seed in 1..=count {
        for kind in KINDS {
            let mut world = World::new(kind, mistake, seed);
            if let Err(violation) = world.run(1500) {
                return (Some((kind, seed, violation)), committed);
            }
            committed += u64::from(world.committed);
        }
    }
    (None, committed)
}

#[test]
fn the_rules_keep_every_acknowledged_write_in_sight() {
    for (mistake, count) in [(Mistake::None, 3000), (Mistake::OnlyWait, 1000)] {
        let (broken, committed) = histories(mistake, count);
        assert_eq!(broken, None, "{mistake:?}");
        println!(
            "{mistake:?}: {committed} of {} histories reached COMMIT",
            4 * count
        );
        assert!(
            committed > count,
            "{mistake:?}: only {committed} reached COMMIT"
        );
    }
}

#[test]
fn every_broken_rule_is_found() {
    let mut missed = Vec::new();
    for mistake in [
        Mistake::OnlyCheckAfter,
        Mistake::NeitherWaitNorCheckAfter,
        Mistake::NoFence,
        Mistake::ReadsNotFenced,
        Mistake::WritesNotFenced,
        Mistake::NoJointQuorum,
        Mistake::SnapshotBeforeBarrier,
        Mistake::NoDrain,
        Mistake::CleanupBeforeCommit,
        Mistake::OneSurvivorIsEnough,
    ] {
        let (broken, _) = histories(mistake, 20_000);
        match broken {
            Some((kind, seed, violation)) => {
                println!("{mistake:?}: {kind:?}, seed {seed}: {violation}");
            }
            None => missed.push(mistake),
        }
    }
    assert_eq!(missed, []);
}
