//! Comparisons of a move: of a copy that joins with its sources, of a copy that leaves with those that stay.

use annulus_ring::{NodeId, Stage};

use super::driver::{Inner, Job, Moves};
use super::duty::Sources;
use super::findings::Findings;
use super::{Direction, Obstacle};
use crate::antientropy::exchange::{Outcome, RoundLimit};
use crate::antientropy::{AntiEntropyMetrics, Comparison, Purpose};
use crate::mistake::{self, Mistake};

/// Comparisons of one pair in one attempt, if each finds something.
const ROUNDS: usize = 8;

impl Moves {
    /// Finds this node's copy equal to each source's, with the mends that it takes.
    pub(super) async fn verify(&self, job: &Job, sources: &Sources) -> Result<(), Obstacle> {
        // Later it is an owner's copy, which is mended as such.
        if job.it.add.is_some() && job.it.stage == Stage::Verify {
            self.make_whole(job, sources).await?;
        }
        let is_equal = |outcome: &Outcome| outcome.keys == 0 && outcome.is_complete();
        let mut obstacle = None;
        let known = self.known(job, |found| found.verified.clone());
        for node in sources.nodes.iter().filter(|node| !known.contains(node)) {
            match self
                .compare_until(job, *node, Purpose::Join, is_equal)
                .await
            {
                Ok(()) => self.found(job, |found| {
                    found.verified.insert(*node);
                }),
                Err(error) => obstacle = Some(error),
            }
        }
        obstacle.map_or(Ok(()), Err)
    }

    /// Brings to the new owners what they lack of the copy that this node is about to delete.
    pub(super) async fn drain(&self, job: &Job, to: &[NodeId]) -> Result<(), Obstacle> {
        // What was admitted under both sets of owners may still be on its way to the log here.
        if self.0.parts.placement.acked() < job.it.since {
            return Err(Obstacle::NotSettled);
        }
        let lacks_nothing = |outcome: &Outcome| outcome.pushes == 0 && outcome.is_complete();
        let mut obstacle = None;
        if mistake::is_made(Mistake::NoDrain) {
            self.found(job, |found| found.drained.extend(to));
        }
        let known = self.known(job, |found| found.drained.clone());
        for node in to.iter().filter(|node| !known.contains(node)) {
            match self
                .compare_until(job, *node, Purpose::Leave, lacks_nothing)
                .await
            {
                Ok(()) => self.found(job, |found| {
                    found.drained.insert(*node);
                }),
                Err(error) => obstacle = Some(error),
            }
        }
        obstacle.map_or(Ok(()), Err)
    }

    fn found(&self, job: &Job, note: impl FnOnce(&mut Findings)) {
        let Inner { parts, board } = &*self.0;
        if let Some(copy) = parts.replica.vnode(job.it.partition()) {
            board.about(&job.it, copy.vnode_id, note);
        }
    }

    /// Of the copy that there is now.
    fn known<T: Default>(&self, job: &Job, what: impl FnOnce(&mut Findings) -> T) -> T {
        let Inner { parts, board } = &*self.0;
        let copy = parts.replica.vnode(job.it.partition());
        copy.map_or_else(T::default, |copy| board.about(&job.it, copy.vnode_id, what))
    }

    async fn compare_until(
        &self,
        job: &Job,
        node: NodeId,
        purpose: Purpose,
        wanted: impl Fn(&Outcome) -> bool,
    ) -> Result<(), Obstacle> {
        let Inner { parts, .. } = &*self.0;
        let peers = parts.peers.in_session(job.it.id);
        let (direction, metrics) = match purpose {
            Purpose::Leave => (Direction::Out, AntiEntropyMetrics::default()),
            Purpose::Join | Purpose::Upkeep => (Direction::In, AntiEntropyMetrics::default()),
        };
        let comparison = Comparison {
            partition: job.it.partition(),
            peer: node,
            purpose,
            placement: job.placement.clone(),
            replica: &parts.replica,
            peers: &peers,
            keyspaces: &parts.keyspaces,
            clock: parts.clock.as_ref(),
            metrics: &metrics,
        };
        for _ in 0..ROUNDS {
            let pace = parts.pace.towards(direction);
            let (limit, pause) = (RoundLimit::default(), parts.options.confirm_after);
            let outcome = comparison.run(limit, pause, &pace).await;
            let outcome = outcome.map_err(|error| Obstacle::Comparison { node, error })?;
            if wanted(&outcome) {
                return Ok(());
            }
        }
        let rounds = ROUNDS;
        Err(Obstacle::StillDiffers { node, rounds })
    }
}
