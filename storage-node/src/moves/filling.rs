//! The joining owner's copy: filled from its sources, page by page, from where it was left.

use annulus_causality::VnodeId;
use annulus_ring::NodeId;

use super::driver::{Inner, Job, Moves};
use super::duty::Sources;
use super::findings::Streamed;
use super::{Direction, Obstacle};
use crate::peer::PeerFailure;
use crate::rebuild::{Copy, Pulled, Puller};
use crate::replica::{Origin, Rebuilding, VnodeStatus};

impl Moves {
    /// Takes what the sources have; those that fail are told, after the others were asked.
    pub(super) async fn fill(&self, job: &Job, sources: &Sources) -> Result<(), Obstacle> {
        let status = self.sound_copy(job).await?;
        let Some(mut rebuilding) = status.rebuilding.clone() else {
            return Ok(());
        };
        self.check_quiet(job, status.vnode_id, &rebuilding)?;
        let Inner { parts, .. } = &*self.0;
        let peers = parts.peers.in_session(job.it.id);
        let puller = Puller {
            replica: &parts.replica,
            peers: &peers,
            keyspaces: &parts.keyspaces,
            clock: parts.clock.as_ref(),
            page_bytes: parts.pace.page_bytes(parts.options.page_bytes),
            counters: (&parts.metrics.filled.0, &parts.metrics.filled.1),
        };
        let copy = Copy {
            placement: job.placement.clone(),
            partition: status.partition,
            incarnation: status.incarnation,
        };
        let mut obstacle = None;
        for node in &sources.nodes {
            if rebuilding.is_read(*node) {
                continue;
            }
            let asked = self.ask_size(job, &puller, (&copy, status.vnode_id), *node);
            if let Err(failure) = asked.await {
                let why = failure.to_string();
                obstacle = Some(Obstacle::Source { node: *node, why });
                continue;
            }
            let pace = parts.pace.towards(Direction::In);
            if let Pulled::Part(why) = puller.pull(&copy, *node, &mut rebuilding, &pace).await? {
                obstacle = Some(Obstacle::Source { node: *node, why });
            }
        }
        obstacle.map_or(Ok(()), Err)
    }

    /// The copy serves once it has what enough of the sources have.
    pub(super) async fn make_whole(&self, job: &Job, sources: &Sources) -> Result<(), Obstacle> {
        let Some(rebuilding) = self.sound_copy(job).await?.rebuilding else {
            return Ok(());
        };
        let is_enough = |rebuilding: &Rebuilding| {
            let read = sources
                .nodes
                .iter()
                .filter(|node| rebuilding.is_read(**node));
            read.count() >= sources.at_least
        };
        if !is_enough(&rebuilding) {
            self.fill(job, sources).await?;
        }
        let status = self.sound_copy(job).await?;
        let Some(rebuilding) = status.rebuilding.filter(is_enough) else {
            return Err(Obstacle::Damaged);
        };
        let Inner { parts, board } = &*self.0;
        let streamed = streamed(&rebuilding);
        board.about(&job.it, status.vnode_id, |found| found.streamed = streamed);
        parts
            .replica
            .serve(status.partition, status.incarnation)
            .await?;
        Ok(())
    }

    /// The copy that was made for the move. One that is damaged begins again: the old owners have all that it had.
    async fn sound_copy(&self, job: &Job) -> Result<VnodeStatus, Obstacle> {
        let replica = &self.0.parts.replica;
        let copy = replica.vnode(job.it.partition());
        let made = copy.filter(|copy| copy.joined == Some(job.it.id));
        let copy = made.ok_or(Obstacle::NoCopy)?;
        if copy.is_damaged {
            replica.give_up(copy.partition, copy.incarnation).await?;
            return Err(Obstacle::Damaged);
        }
        Ok(copy)
    }

    /// A copy that lost what it had acknowledged waits until no request counts on that any more.
    fn check_quiet(
        &self,
        job: &Job,
        vnode: VnodeId,
        rebuilding: &Rebuilding,
    ) -> Result<(), Obstacle> {
        if rebuilding.origin == Origin::Joining {
            return Ok(());
        }
        let Inner { parts, board } = &*self.0;
        let now = parts.clock.now();
        let seen = board.about(&job.it, vnode, |found| *found.lost_at.get_or_insert(now));
        if now < seen + parts.options.longest_request {
            return Err(Obstacle::NotQuiet);
        }
        Ok(())
    }

    /// For people: how much there is to take. A source that does not say gives nothing either.
    async fn ask_size(
        &self,
        job: &Job,
        puller: &Puller<'_>,
        (copy, vnode): (&Copy, VnodeId),
        node: NodeId,
    ) -> Result<(), PeerFailure> {
        let page = puller.ask_for_page(copy, node, None, 0).await?;
        self.0.board.about(&job.it, vnode, |found| {
            found.expected.insert(node, page.copy_bytes);
        });
        Ok(())
    }
}

/// What a copy was filled with so far.
pub(super) fn streamed(rebuilding: &Rebuilding) -> Streamed {
    let sources = || rebuilding.sources.iter();
    Streamed {
        bytes: sources().map(|(_, source)| source.bytes).sum(),
        keys: sources().map(|(_, source)| source.keys).sum(),
        from: sources()
            .filter(|(_, source)| source.done)
            .map(|(node, _)| *node)
            .collect(),
    }
}
