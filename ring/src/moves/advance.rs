//! The stage machine: from the placement and what nodes report to the next stage changes.
//!
//! It looks at nothing else and remembers nothing: asked again with the same, it says the same,
//! and whoever asks may be killed at any time. Each move makes at most one step an epoch. A
//! partition's next step waits for its own barrier only, that of the epoch its move entered its
//! stage at; epochs that other partitions caused in between do not count.

use std::collections::BTreeSet;

use super::barrier::{Rules, missing_acks};
use super::change::Change;
use super::evidence::{Evidence, MoveReport, Standing};
use super::id::MoveId;
use super::record::Move;
use super::stage::Stage;
use super::wait::{Wait, WaitReason};
use crate::node::{NodeId, NodeIndex};
use crate::placement::Placement;

/// What the next epoch changes of the moves, and what the others wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advance {
    /// For [`Placement::apply`]; empty if no move can go on.
    pub changes: Vec<Change>,
    /// One for each move that does not go on.
    pub waits: Vec<Wait>,
}

/// Decides for every move under way. The `cancelled` ones are called off if it is not too late.
pub fn advance(
    placement: &Placement,
    evidence: &Evidence,
    rules: Rules,
    cancelled: &BTreeSet<MoveId>,
) -> Advance {
    let mut decided = Advance::default();
    for it in placement.moves() {
        let view = View {
            placement,
            it,
            evidence,
            rules,
            cancelled: cancelled.contains(&it.id),
        };
        match view.step() {
            Ok(change) => decided.changes.push(change),
            Err(reason) => decided.waits.push(Wait {
                id: it.id,
                stage: it.stage,
                reason,
            }),
        }
    }
    decided
}

/// What is to be done, or what is missing.
type Step = Result<Change, WaitReason>;

/// One move, and what is known.
struct View<'a> {
    placement: &'a Placement,
    it: &'a Move,
    evidence: &'a Evidence,
    rules: Rules,
    cancelled: bool,
}

impl View<'_> {
    fn step(&self) -> Step {
        let id = self.it.id;
        let hopeless = self.is_given_up(self.it.add) || self.all_new(Standing::is_given_up);
        if self.it.stage.can_be_cancelled() && (self.cancelled || hopeless) {
            return self.call_off();
        }
        // Nobody is left of the new owners: the leaver's copy is the best there is.
        if self.it.stage == Stage::Commit && self.all_new(|it| it == Standing::Destroyed) {
            return self.enter(Stage::ReadNew);
        }
        let needed = !self.it.lost && self.it.stage < Stage::Cleanup;
        if needed && self.is_given_up(self.it.remove) {
            return Ok(Change::GiveUpLeaver { id });
        }
        match self.it.stage {
            Stage::Prepare => self.prepare(),
            Stage::Dual => self.dual(),
            Stage::Stream => self.stream(),
            Stage::Verify => self.verify(),
            Stage::ReadNew => self.read_new(),
            Stage::Commit => self.commit(),
            Stage::Cleanup => self.cleanup(),
        }
    }

    /// Back to the old owners, who have been written to all along. Reads that asked the new ones
    /// must be over before writes to the old ones alone are enough: so READ_NEW goes back to
    /// VERIFY, and VERIFY ends with a barrier, whichever way it was entered.
    fn call_off(&self) -> Step {
        let id = self.it.id;
        match self.it.stage {
            Stage::ReadNew => self.enter(Stage::Verify),
            Stage::Verify => {
                self.barrier()?;
                Ok(Change::Close { id })
            }
            _ => Ok(Change::Close { id }),
        }
    }

    fn prepare(&self) -> Step {
        if let Some(joins) = self.it.add
            && !self.report(joins).is_some_and(|report| report.ready)
        {
            let node = self.name(joins);
            return Err(WaitReason::Ready { node });
        }
        self.enter(Stage::Dual)
    }

    fn dual(&self) -> Step {
        self.barrier()?;
        self.enter(match self.it.add {
            Some(_) => Stage::Stream,
            None => Stage::Verify,
        })
    }

    fn stream(&self) -> Step {
        self.synchronised(|report| &report.streamed.from)
            .map_err(|lack| WaitReason::Stream {
                node: lack.node,
                sources: lack.sources,
                needed: lack.needed,
            })?;
        self.enter(Stage::Verify)
    }

    fn verify(&self) -> Step {
        self.verified()?;
        self.enter(Stage::ReadNew)
    }

    fn read_new(&self) -> Step {
        self.barrier()?;
        self.enter(Stage::Commit)
    }

    fn commit(&self) -> Step {
        self.barrier()?;
        let id = self.it.id;
        let Some(leaver) = self.it.remove else {
            return Ok(Change::Close { id });
        };
        if !self.it.lost {
            self.drained(leaver)?;
        }
        self.enter(Stage::Cleanup)
    }

    /// A leaver that was given up before did not drain: what the others have is compared instead, unless
    /// the joining owner is lost as well, which is for its own replacement to mend.
    fn cleanup(&self) -> Step {
        let id = self.it.id;
        let Some(leaver) = self.it.remove else {
            return Ok(Change::Close { id });
        };
        if self.it.lost && !self.is_given_up(self.it.add) {
            self.verified()?;
        }
        let cleaned = self.report(leaver).is_some_and(|report| report.cleaned);
        if cleaned || self.standing(leaver).is_given_up() {
            return Ok(Change::Close { id });
        }
        let node = self.name(leaver);
        Err(WaitReason::Clean { node })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the last step of each stage")]
    fn enter(&self, stage: Stage) -> Step {
        let id = self.it.id;
        Ok(Change::Enter { id, stage })
    }

    fn barrier(&self) -> Result<(), WaitReason> {
        let missing = missing_acks(self.placement, self.it, self.evidence, self.rules);
        if missing.is_empty() {
            return Ok(());
        }
        let named = missing
            .iter()
            .filter_map(|id| self.placement.node_by_id(*id));
        Err(WaitReason::Barrier {
            nodes: named.map(|node| node.name.clone()).collect(),
            epoch: self.it.since,
        })
    }

    fn verified(&self) -> Result<(), WaitReason> {
        self.synchronised(|report| &report.verified)
            .map_err(|lack| WaitReason::Verify {
                node: lack.node,
                sources: lack.sources,
                needed: lack.needed,
            })
    }

    /// Whether everybody who synchronises has done so with enough sources. Sources whose data will
    /// never return are not waited for: what the others have is all there is.
    fn synchronised(&self, done: impl Fn(&MoveReport) -> &Vec<NodeId>) -> Result<(), Lack> {
        for syncer in self.placement.syncers(self.it) {
            if self.it.add.is_none() && self.standing(syncer).is_given_up() {
                continue;
            }
            let from = self
                .placement
                .sync_sources(self.it, syncer, self.rules.write_min);
            let report = self.report(syncer);
            let is_done = |source: &NodeIndex| {
                let source = self.id_of(*source);
                report.is_some_and(|report| done(report).contains(&source))
            };
            let is_left = |source: &NodeIndex| {
                is_done(source) || self.standing(*source) != Standing::Destroyed
            };
            let needed = from.at_least.min(from.iter().filter(is_left).count());
            let had = from.iter().filter(is_done).count();
            if had < needed {
                let open = from.iter().filter(|source| !is_done(source));
                return Err(Lack {
                    node: self.name(syncer),
                    sources: open.map(|source| self.name(source)).collect(),
                    needed: needed - had,
                });
            }
        }
        Ok(())
    }

    /// Every new owner that is not given up lacks nothing, and W of them at least, or as many as
    /// are left: more copies come with the replacement of the others, which waits for this move.
    fn drained(&self, leaver: NodeIndex) -> Result<(), WaitReason> {
        let new = self.placement.new_owners(self.it.partition());
        let report = self.report(leaver);
        let has_all = |owner: &NodeIndex| {
            let owner = self.id_of(*owner);
            report.is_some_and(|report| report.drained.contains(&owner))
        };
        let left = new
            .iter()
            .filter(|owner| !self.standing(*owner).is_given_up());
        let needed = usize::from(self.rules.write_min).min(left.count()).max(1);
        let enough = new.iter().filter(has_all).count() >= needed;
        let mut lacking: Vec<NodeIndex> = new.iter().filter(|owner| !has_all(owner)).collect();
        if enough {
            lacking.retain(|owner| !self.standing(*owner).is_given_up());
        }
        if lacking.is_empty() {
            return Ok(());
        }
        Err(WaitReason::Drain {
            node: self.name(leaver),
            to: lacking.into_iter().map(|owner| self.name(owner)).collect(),
        })
    }

    fn id_of(&self, node: NodeIndex) -> NodeId {
        self.placement.node(node).id
    }

    fn name(&self, node: NodeIndex) -> String {
        self.placement.node(node).name.clone()
    }

    fn standing(&self, node: NodeIndex) -> Standing {
        self.evidence.standing(self.id_of(node))
    }

    fn all_new(&self, is: impl Fn(Standing) -> bool) -> bool {
        let mut new = self.placement.new_owners(self.it.partition()).iter();
        new.all(|owner| is(self.standing(owner)))
    }

    fn is_given_up(&self, node: Option<NodeIndex>) -> bool {
        node.is_some_and(|node| self.standing(node).is_given_up())
    }

    fn report(&self, node: NodeIndex) -> Option<&MoveReport> {
        self.evidence.of_move(self.id_of(node), self.it.id)
    }
}

/// What a synchronising node lacks.
struct Lack {
    node: String,
    sources: Vec<String>,
    needed: usize,
}

#[cfg(test)]
mod tests;
