//! One comparison of two copies of a vnode, from the side that began it. Pure: it says what is to be done
//! next, is told what came of it, and ends with an [`Outcome`].
//!
//! The trees are compared from the root down; only what lies below differences is read. Then the keys of the
//! differing leaves are listed, and after a pause listed again: only keys that differ in the very same
//! way both times move. A write that is under way looks like damage once, not twice: it arrives meanwhile.
//! (Comparing blocks a second time instead would confirm nothing on a busy vnode, where in each block
//! some write is under way at any moment, and would read every block twice.)
//!
//! One round takes a bounded number of blocks and leaves; the next goes on after its last leaf, so a leaf that
//! can't be mended does not hold up the others.

use std::collections::BTreeMap;
use std::time::Duration;

use annulus_proto::model::{Key, KeyspaceName};

use crate::hash_tree::{Block, Child, KeySummary, LEAVES, Leaf, LeafKeys, Way};
use crate::mistake::{self, Mistake};
use crate::storage::SumBlock;

/// How much one round takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundLimit {
    /// Most blocks of one level.
    pub blocks: usize,
    /// Most leaves.
    pub leaves: usize,
}

impl Default for RoundLimit {
    fn default() -> Self {
        Self {
            blocks: 32,
            leaves: 256,
        }
    }
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read these blocks here and there; told by [`Exchange::compared`], or [`Exchange::same_roots`].
    Compare(Vec<Block>),
    /// List these leaves' keys here and there; told by [`Exchange::listed`].
    List(Vec<Leaf>),
    /// Let so much time pass; told by [`Exchange::waited`].
    Wait(Duration),
    /// Move these keys; told by [`Exchange::moved`].
    Move(Vec<KeyMove>),
    /// That was all.
    End(Outcome),
}

/// A key whose states differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMove {
    /// The keyspace.
    pub keyspace: KeyspaceName,
    /// The key.
    pub key: Key,
    /// Which way its state has to go.
    pub way: Way,
    /// One side has no record of it.
    pub is_absent: bool,
}

/// What came of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Blocks read on each side.
    pub blocks: usize,
    /// Leaves that differed at the first look.
    pub leaves: usize,
    /// Keys that differed at the first look.
    pub suspects: usize,
    /// Keys that differed at the second look, and were moved.
    pub keys: usize,
    /// Of them, keys of which the other side lacks something.
    pub pushes: usize,
    /// Of them, keys that could not be moved.
    pub failed: usize,
    /// Leaves with a key that one side can't read back.
    pub unreadable: usize,
    /// Rounds with differences.
    pub rounds: usize,
}

impl Outcome {
    /// Whether all that differed was mended.
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && self.unreadable == 0
    }
}

type Name = (KeyspaceName, Key);
type Pair = (Option<KeySummary>, Option<KeySummary>);

/// See the module.
#[derive(Debug)]
pub struct Exchange {
    limit: RoundLimit,
    confirm_after: Duration,
    looks_once: bool,
    asked: Asked,
    /// First leaf that no round has taken yet.
    next_leaf: u32,
    /// Where the round that is under way ends.
    round_end: u32,
    outcome: Outcome,
}

#[derive(Debug, Clone)]
enum Asked {
    Blocks(Vec<Block>),
    Suspects(Vec<Leaf>),
    Pause(BTreeMap<Leaf, BTreeMap<Name, Pair>>),
    Again(BTreeMap<Leaf, BTreeMap<Name, Pair>>),
    Moves,
}

impl Exchange {
    /// Begins. `confirm_after`: the pause before the second look.
    pub fn begin(limit: RoundLimit, confirm_after: Duration) -> (Self, Step) {
        let mut exchange = Self {
            limit,
            confirm_after,
            looks_once: false,
            asked: Asked::Moves,
            next_leaf: 0,
            round_end: LEAVES,
            outcome: Outcome::default(),
        };
        let first = exchange.begin_round();
        (exchange, first)
    }

    /// Moves what differs at the first look: where one side changes all the time, a second look never finds the same, and
    /// what the other side has alone would stay there.
    #[must_use]
    pub fn at_once(self) -> Self {
        Self {
            looks_once: true,
            ..self
        }
    }

    /// The sums of both trees are the same; answers the comparison of the root.
    pub fn same_roots(&mut self) -> Step {
        self.outcome.blocks += 1;
        Step::End(self.outcome)
    }

    /// The blocks that were asked for, in that order, as they are here and there.
    pub fn compared(&mut self, mine: &[SumBlock], theirs: &[SumBlock]) -> Step {
        let Asked::Blocks(blocks) = std::mem::replace(&mut self.asked, Asked::Moves) else {
            return Step::End(self.outcome);
        };
        self.outcome.blocks += blocks.len();
        let (mut below, mut leaves) = (Vec::new(), Vec::new());
        for ((block, mine), theirs) in blocks.iter().zip(mine).zip(theirs) {
            for slot in mine.differing(theirs) {
                match block.child(slot) {
                    Child::Block(child) if child.end() > self.next_leaf => below.push(child),
                    Child::Leaf(leaf) if leaf.number() >= self.next_leaf => leaves.push(leaf),
                    Child::Block(_) | Child::Leaf(_) => {}
                }
            }
        }
        if !below.is_empty() {
            return self.descend(below);
        }
        if leaves.len() > self.limit.leaves {
            leaves.truncate(self.limit.leaves);
            self.end_round_after(&leaves);
        }
        if leaves.is_empty() {
            return self.end_round();
        }
        self.outcome.leaves += leaves.len();
        self.outcome.rounds += 1;
        self.asked = Asked::Suspects(leaves.clone());
        Step::List(leaves)
    }

    /// The keys of the leaves that were asked for; the last of them may be missing on either side.
    pub fn listed(&mut self, mine: Vec<LeafKeys>, theirs: Vec<LeafKeys>) -> Step {
        match std::mem::replace(&mut self.asked, Asked::Moves) {
            Asked::Suspects(leaves) => {
                let listed = leaves.len().min(mine.len()).min(theirs.len());
                if listed == 0 {
                    return Step::End(self.outcome);
                }
                if listed < leaves.len() {
                    self.end_round_after(&leaves[..listed]);
                }
                let suspects = self.differing(mine, theirs);
                self.outcome.suspects += suspects.values().map(BTreeMap::len).sum::<usize>();
                if suspects.is_empty() {
                    return self.end_round();
                }
                if self.looks_once || mistake::is_made(Mistake::RepairUnconfirmed) {
                    return self.move_keys(suspects.into_values().flatten());
                }
                self.asked = Asked::Pause(suspects);
                Step::Wait(self.confirm_after)
            }
            Asked::Again(mut suspects) => {
                let found = self.differing(mine, theirs);
                let confirmed = found.into_iter().flat_map(|(leaf, found)| {
                    let first = suspects.remove(&leaf).unwrap_or_default();
                    let same = move |(name, pair): &(Name, Pair)| first.get(name) == Some(pair);
                    found.into_iter().filter(same)
                });
                self.move_keys(confirmed)
            }
            _ => Step::End(self.outcome),
        }
    }

    /// The pause is over.
    pub fn waited(&mut self) -> Step {
        let Asked::Pause(suspects) = std::mem::replace(&mut self.asked, Asked::Moves) else {
            return Step::End(self.outcome);
        };
        let leaves = suspects.keys().copied().collect();
        self.asked = Asked::Again(suspects);
        Step::List(leaves)
    }

    /// The keys were moved, but for so many.
    pub fn moved(&mut self, failed: usize) -> Step {
        self.outcome.failed += failed;
        self.end_round()
    }

    fn begin_round(&mut self) -> Step {
        self.round_end = LEAVES;
        self.asked = Asked::Blocks(vec![Block::ROOT]);
        Step::Compare(vec![Block::ROOT])
    }

    fn end_round(&mut self) -> Step {
        self.next_leaf = self.round_end;
        if self.next_leaf >= LEAVES {
            return Step::End(self.outcome);
        }
        self.begin_round()
    }

    /// Goes one level down, into as many blocks as a round may read.
    fn descend(&mut self, mut blocks: Vec<Block>) -> Step {
        if blocks.len() > self.limit.blocks {
            blocks.truncate(self.limit.blocks);
            let end = blocks.last().map_or(LEAVES, |last| last.end());
            self.round_end = self.round_end.min(end);
        }
        self.asked = Asked::Blocks(blocks.clone());
        Step::Compare(blocks)
    }

    fn end_round_after(&mut self, leaves: &[Leaf]) {
        let end = leaves.last().map_or(LEAVES, |last| last.number() + 1);
        self.round_end = self.round_end.min(end);
    }

    /// The keys that differ, by leaf.
    fn differing(
        &mut self,
        mine: Vec<LeafKeys>,
        theirs: Vec<LeafKeys>,
    ) -> BTreeMap<Leaf, BTreeMap<Name, Pair>> {
        let mut differing = BTreeMap::new();
        for (mine, theirs) in mine.into_iter().zip(theirs) {
            let leaf = mine.leaf;
            let (Some(mine), Some(theirs), true) = (mine.keys, theirs.keys, leaf == theirs.leaf)
            else {
                self.outcome.unreadable += 1;
                continue;
            };
            let mut pairs: BTreeMap<Name, Pair> = BTreeMap::new();
            for summary in mine {
                let pair = pairs.entry(name_of(&summary)).or_default();
                pair.0 = Some(summary);
            }
            for summary in theirs {
                let pair = pairs.entry(name_of(&summary)).or_default();
                pair.1 = Some(summary);
            }
            pairs.retain(|_, (mine, theirs)| mine != theirs);
            if !pairs.is_empty() {
                differing.insert(leaf, pairs);
            }
        }
        differing
    }

    fn move_keys(&mut self, differing: impl Iterator<Item = (Name, Pair)>) -> Step {
        let moves = differing.map(|((keyspace, key), (mine, theirs))| KeyMove {
            keyspace,
            key,
            way: Way::between(mine.as_ref(), theirs.as_ref()),
            is_absent: mine.is_none() || theirs.is_none(),
        });
        let moves: Vec<KeyMove> = moves.collect();
        if moves.is_empty() {
            return self.end_round();
        }
        let pushes = moves.iter().filter(|each| each.way != Way::Pull);
        self.outcome.pushes += pushes.count();
        self.outcome.keys += moves.len();
        self.asked = Asked::Moves;
        Step::Move(moves)
    }
}

fn name_of(summary: &KeySummary) -> Name {
    (summary.keyspace.clone(), summary.key.clone())
}

#[cfg(test)]
mod tests;
