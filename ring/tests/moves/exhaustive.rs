//! Every interleaving of one write and one later read with the epochs of one move: N = 3, R and W
//! such that they overlap.
//!
//! A state is: how far the operator published, what each node has learned (which it acknowledges at
//! once and refuses older requests from), who has the write, and how far the write or the read is.
//! Coordinators go by any published epoch. A request newer than a node makes it learn; a snapshot
//! is as old as it may be. The operator publishes whenever [`advance`] lets it. All states that can
//! be reached are visited; in none may a read end without the write that was acknowledged before.

use std::collections::BTreeSet;

use annulus_ring::{
    Change, Evidence, MoveId, MoveReport, NodeId, NodeIndex, NodeReport, PartitionId, Placement,
    PlannedMove, Rules, Stage, Standing, advance,
};

use crate::cluster::{equal_nodes, founded, q};

const P: PartitionId = PartitionId(0);

/// A, B and C own the partition; D joins.
const NODES: usize = 4;
const A: usize = 0;
const B: usize = 1;
const D: usize = 3;

/// Who is given up, but runs, and goes on answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    Nobody,
    /// A, from the beginning.
    Leaver,
    /// D, once READ_NEW is published.
    Joiner,
}

/// R and W.
#[derive(Clone, Copy, Debug)]
struct Quorums {
    read: u8,
    write: u8,
}

const BOTH_TWO: Quorums = Quorums { read: 2, write: 2 };

/// Where the stages lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    ToCommit,
    /// Called off after READ_NEW was published.
    Back,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// The operator waits for nobody before COMMIT.
    NoBarrierBeforeCommit,
    /// The operator ends the move without waiting after READ_NEW was taken back.
    NoBarrierBeforeAbort,
    /// One more node may be behind: B is taken for fenced, and answers.
    OneMoreBehind,
    NoJointQuorum,
    NoFence,
}

/// The published epochs, and when each may be.
struct Script {
    placements: Vec<Placement>,
    /// The place of STREAM.
    stream: usize,
    doubt: Doubt,
    quorums: Quorums,
    mistake: Mistake,
}

impl Script {
    fn new(path: Path, doubt: Doubt, quorums: Quorums, mistake: Mistake) -> Self {
        let mut stages = vec![Stage::Dual, Stage::Stream, Stage::Verify, Stage::ReadNew];
        stages.push(match path {
            Path::ToCommit => Stage::Commit,
            Path::Back => Stage::Verify,
        });
        let stable = founded(&equal_nodes(NODES, 1), q(0), 3);
        let owners: Vec<NodeIndex> = stable.owners(P).to_vec();
        let joins = stable.node_indexes().find(|node| !owners.contains(node));
        let id = |node: NodeIndex| stable.node(node).id;
        let mut placements = vec![
            stable
                .apply(&[Change::Start(PlannedMove {
                    partition: P,
                    add: joins.map(id),
                    remove: Some(id(owners[A])),
                    lost: doubt == Doubt::Leaver,
                })])
                .unwrap(),
        ];
        let id = placements[0].moves()[0].id;
        let mut changes: Vec<Change> = stages
            .into_iter()
            .map(|stage| Change::Enter { id, stage })
            .collect();
        if path == Path::Back {
            changes.push(Change::Close { id });
        }
        for change in changes {
            let next = placements.last().unwrap().apply(&[change]).unwrap();
            placements.push(next);
        }
        Self {
            placements,
            stream: 2,
            doubt,
            quorums,
            mistake,
        }
    }

    /// A, B, C, D as the placements number them.
    fn members(&self) -> [NodeIndex; NODES] {
        let first = &self.placements[0];
        let it = first.moves()[0];
        let mut others = first
            .owners(P)
            .iter()
            .filter(|owner| Some(**owner) != it.remove);
        let mut other = || *others.next().unwrap();
        [it.remove.unwrap(), other(), other(), it.add.unwrap()]
    }

    fn mask(&self, nodes: impl Iterator<Item = NodeIndex>) -> u8 {
        let members = self.members();
        nodes.fold(0, |mask, node| {
            let at = members.iter().position(|member| *member == node).unwrap();
            mask | 1 << at
        })
    }

    /// Whether the epoch after `at` may be published when the nodes have learned this much.
    fn may_publish(&self, at: usize, learned: [usize; NODES]) -> bool {
        let placement = &self.placements[at];
        let next = &self.placements[at + 1];
        let it = placement.moves()[0];
        let skipped = match self.mistake {
            Mistake::NoBarrierBeforeCommit => it.stage == Stage::ReadNew,
            Mistake::NoBarrierBeforeAbort => next.moves().is_empty(),
            _ => false,
        };
        let learned = if skipped { [at; NODES] } else { learned };
        let back = next
            .moves()
            .first()
            .is_none_or(|next| next.stage < it.stage);
        let cancelled: BTreeSet<MoveId> = back.then_some(it.id).into_iter().collect();
        let rules = Rules {
            read_min: self.quorums.read,
            write_min: self.quorums.write,
        };
        let decided = advance(placement, &self.evidence(at, learned), rules, &cancelled).changes;
        !decided.is_empty() && placement.apply(&decided).unwrap() == *next
    }

    /// Everything is done but what the nodes have not learned of: only sources that learned STREAM
    /// have given a snapshot.
    fn evidence(&self, published: usize, learned: [usize; NODES]) -> Evidence {
        let first = &self.placements[0];
        let it = first.moves()[0];
        let ids = self.members().map(|node| first.node(node).id);
        let gave = |(_, learned): &(&NodeId, usize)| *learned >= self.stream;
        let gave = ids.iter().zip(learned).filter(gave);
        let gave: Vec<NodeId> = gave.map(|(node, _)| *node).collect();
        let report = |(at, learned): (usize, usize)| {
            let mut done = MoveReport::new(it.id);
            done.ready = true;
            done.streamed.from.clone_from(&gave);
            done.verified = ids.to_vec();
            let believed_fenced = self.mistake == Mistake::OneMoreBehind && at == B;
            let zombie = match self.doubt {
                Doubt::Nobody => false,
                Doubt::Leaver => at == A,
                Doubt::Joiner => at == D && published > self.stream + 1,
            };
            let report = NodeReport {
                standing: if believed_fenced {
                    Standing::Fenced
                } else if zombie {
                    Standing::GivenUp
                } else {
                    Standing::Alive
                },
                acked: self.placements[learned].epoch(),
                moves: vec![done],
            };
            (ids[at], report)
        };
        Evidence(learned.into_iter().enumerate().map(report).collect())
    }
}

/// One state. All sets are bits of A, B, C, D.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    published: u8,
    learned: [u8; NODES],
    has: u8,
    /// The epoch of the write, then of the read.
    stamp: u8,
    /// Who acknowledged the write; then who answered the read, having nothing.
    answered: u8,
    reading: bool,
}

impl State {
    fn index(&self, epochs: usize) -> usize {
        let mut index = usize::from(self.published);
        for learned in self.learned {
            index = index * epochs + usize::from(learned);
        }
        index = index * epochs + usize::from(self.stamp);
        ((index * 16 + usize::from(self.has)) * 16 + usize::from(self.answered)) * 2
            + usize::from(self.reading)
    }
}

struct Search {
    script: Script,
    write_sets: Vec<Vec<u8>>,
    targets: Vec<u8>,
    readers: Vec<u8>,
    seen: Vec<u64>,
    open: Vec<State>,
    visited: usize,
}

impl Search {
    fn new(script: Script) -> Self {
        let sets = |placement: &Placement| -> Vec<u8> {
            let sets = placement.write_sets(P).iter();
            let mut sets: Vec<u8> = sets.map(|set| script.mask(set.iter())).collect();
            if script.mistake == Mistake::NoJointQuorum {
                sets.truncate(1);
            }
            sets
        };
        let readers = |it: &Placement| script.mask(it.readers(P).iter().copied());
        let epochs = script.placements.len();
        let write_sets = script.placements.iter().map(sets).collect();
        let readers = script.placements.iter().map(readers).collect();
        let targets = |it: &Placement| script.mask(it.write_sets(P).targets());
        let targets = script.placements.iter().map(targets).collect();
        Self {
            write_sets,
            targets,
            readers,
            seen: vec![0; epochs.pow(6) * 512 / 64 + 1],
            open: Vec::new(),
            visited: 0,
            script,
        }
    }

    fn push(&mut self, state: State) {
        let index = state.index(self.script.placements.len());
        let (word, bit) = (index / 64, 1 << (index % 64));
        if self.seen[word] & bit == 0 {
            self.seen[word] |= bit;
            self.visited += 1;
            self.open.push(state);
        }
    }

    /// The first state in which a read misses the write, if there is one.
    fn run(&mut self) -> Option<State> {
        self.push(State {
            published: 0,
            learned: [0; NODES],
            has: 0,
            stamp: 0,
            answered: 0,
            reading: false,
        });
        while let Some(state) = self.open.pop() {
            self.publish(state);
            self.learn(state);
            self.turn(state);
            if self.answer(state) {
                return Some(state);
            }
        }
        None
    }

    fn publish(&mut self, state: State) {
        let at = usize::from(state.published);
        let last = at + 1 == self.script.placements.len();
        if !last && self.script.may_publish(at, state.learned.map(usize::from)) {
            self.push(State {
                published: state.published + 1,
                ..state
            });
        }
    }

    fn learn(&mut self, state: State) {
        for node in 0..NODES {
            for epoch in state.learned[node] + 1..=state.published {
                let learned = self.learned(state, node, epoch);
                self.push(learned);
            }
        }
    }

    /// The joining owner's snapshot of a source is from the moment at which the source learns of
    /// STREAM, or of the next epoch it learns of, if it has not read it before.
    fn learned(&self, mut state: State, node: usize, epoch: u8) -> State {
        let stream = self.script.stream;
        let before = usize::from(state.learned[node]) < stream;
        let source = node != D && (node != A || self.script.doubt != Doubt::Leaver);
        let alone = self.script.doubt == Doubt::Leaver || node == A;
        if before && usize::from(epoch) >= stream && source && alone && state.has & (1 << node) != 0
        {
            state.has |= 1 << D;
        }
        state.learned[node] = state.learned[node].max(epoch);
        state
    }

    /// The write is tried again by a newer epoch; or it is acknowledged, and the read begins.
    fn turn(&mut self, state: State) {
        if !state.reading {
            for stamp in state.stamp + 1..=state.published {
                self.push(State {
                    stamp,
                    answered: 0,
                    ..state
                });
            }
            let quorums = self.script.quorums;
            let sets = &self.write_sets[usize::from(state.stamp)];
            if sets
                .iter()
                .all(|set| (set & state.answered).count_ones() >= quorums.write.into())
            {
                for stamp in 0..=state.published {
                    self.push(State {
                        stamp,
                        answered: 0,
                        reading: true,
                        ..state
                    });
                }
            }
        }
    }

    /// A node answers; `true` if a read is over that has not seen the write.
    fn answer(&mut self, state: State) -> bool {
        let stamp = usize::from(state.stamp);
        let asked = if state.reading {
            // A read that meets the write is no danger any more.
            self.readers[stamp] & !state.has
        } else {
            self.targets[stamp]
        };
        for node in 0..NODES {
            let bit = 1u8 << node;
            let fenced =
                state.learned[node] > state.stamp && self.script.mistake != Mistake::NoFence;
            if asked & bit == 0 || state.answered & bit != 0 || fenced {
                continue;
            }
            let mut next = self.learned(state, node, state.stamp);
            next.answered |= bit;
            if state.reading {
                if next.answered.count_ones() >= self.script.quorums.read.into() {
                    return true;
                }
            } else {
                next.has |= bit;
            }
            self.push(next);
        }
        false
    }
}

fn search(path: Path, doubt: Doubt, quorums: Quorums, mistake: Mistake) -> (Option<State>, usize) {
    let mut search = Search::new(Script::new(path, doubt, quorums, mistake));
    let broken = search.run();
    (broken, search.visited)
}

#[test]
fn no_interleaving_hides_an_acknowledged_write() {
    let write_all = Quorums { read: 1, write: 3 };
    // With W = 1 a lost leaver takes writes with it.
    let read_all = Quorums { read: 3, write: 1 };
    for path in [Path::ToCommit, Path::Back] {
        for (doubt, quorums) in [
            (Doubt::Nobody, BOTH_TWO),
            (Doubt::Leaver, BOTH_TWO),
            (Doubt::Nobody, write_all),
            (Doubt::Leaver, write_all),
            (Doubt::Nobody, read_all),
            (Doubt::Joiner, BOTH_TWO),
            (Doubt::Joiner, write_all),
            (Doubt::Joiner, read_all),
        ] {
            if (path, doubt) == (Path::ToCommit, Doubt::Joiner) {
                continue;
            }
            let (broken, visited) = search(path, doubt, quorums, Mistake::None);
            println!("{path:?}, in doubt {doubt:?}, {quorums:?}: {visited} states");
            assert_eq!(broken, None, "{path:?} {doubt:?} {quorums:?}");
            assert!(visited > 20_000, "{visited}");
        }
    }
}

#[test]
fn each_missing_rule_hides_one_in_some_interleaving() {
    for (mistake, path, doubt) in [
        (
            Mistake::NoBarrierBeforeCommit,
            Path::ToCommit,
            Doubt::Nobody,
        ),
        (Mistake::NoBarrierBeforeAbort, Path::Back, Doubt::Nobody),
        (Mistake::OneMoreBehind, Path::ToCommit, Doubt::Leaver),
        (Mistake::OneMoreBehind, Path::Back, Doubt::Joiner),
        (Mistake::NoJointQuorum, Path::ToCommit, Doubt::Nobody),
        (Mistake::NoFence, Path::ToCommit, Doubt::Nobody),
    ] {
        let (broken, visited) = search(path, doubt, BOTH_TWO, mistake);
        println!("{mistake:?}: {broken:?} after {visited} states");
        assert!(broken.is_some(), "{mistake:?} hides nothing");
    }
}
