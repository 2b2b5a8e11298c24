//! Which duties are under way: a few at a time, each to its end or to an obstacle, after which it is tried again
//! later. And the end of copies that are not held any more, one at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_ring::{Move, MoveId, NodeIndex, PartitionId, Placement, RingEpoch};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::duty::{Duty, duty};
use super::findings::Board;
use super::report::{self, MoveReport};
use super::{MoveMetrics, MoveOptions, MovePace};
use crate::clock::Clock;
use crate::keyspace::Keyspaces;
use crate::peer::Peers;
use crate::placement::PlacementStore;
use crate::replica::Replica;

/// Partitions that are compared for their moves at a time.
const COMPARISONS: usize = 4;

/// So many copies are deleted before the space is given back that they take beside others,
const GATHERED: usize = 64;

/// unless none was deleted for so long.
const GATHERED_FOR: Duration = Duration::from_secs(2);

/// What the work is done with.
#[derive(Debug)]
pub(crate) struct MovesParts {
    pub(crate) placement: PlacementStore,
    pub(crate) replica: Replica,
    pub(crate) peers: Peers,
    pub(crate) keyspaces: Arc<Keyspaces>,
    pub(crate) pace: MovePace,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: MoveOptions,
    pub(crate) metrics: MoveMetrics,
}

/// This node's part in moves. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Moves(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) parts: MovesParts,
    pub(super) board: Board,
}

/// One piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum JobId {
    /// For a move, at the stage that it entered then.
    Duty(MoveId, RingEpoch),
    /// The end of a copy.
    Erase(PartitionId),
    /// The rest of its space, and of others'.
    GiveSpaceBack,
}

/// What there is room for a few of at a time. Comparisons wait for each other's pauses, and must not keep streams from
/// using the whole rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Streams,
    Comparisons,
    Erasures,
}

/// What it takes to do it.
#[derive(Debug, Clone)]
enum Work {
    Duty(Job),
    Erase(PartitionId),
    GiveSpaceBack,
}

impl Work {
    fn slot(&self) -> Slot {
        match self {
            Self::Erase(_) | Self::GiveSpaceBack => Slot::Erasures,
            Self::Duty(job) => match job.duty {
                Duty::Fill(_) => Slot::Streams,
                Duty::Verify(_) | Duty::Drain(_) => Slot::Comparisons,
            },
        }
    }
}

/// A move's duty under one placement.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) placement: Arc<Placement>,
    pub(super) it: Move,
    pub(super) duty: Duty,
}

impl Moves {
    /// Made of these parts; does nothing until [`Self::run`].
    pub(crate) fn new(parts: MovesParts) -> Self {
        let board = Board::default();
        Self(Arc::new(Inner { parts, board }))
    }

    /// Bytes a second, in and out.
    pub(crate) fn pace(&self) -> &MovePace {
        &self.0.parts.pace
    }

    /// What came of the moves that concern this node, under the placement in use.
    pub(crate) fn report(&self) -> Vec<MoveReport> {
        let Some((placement, own)) = self.here() else {
            return Vec::new();
        };
        let Inner { parts, board } = &*self.0;
        report::of_all(&placement, own, &parts.replica, board)
    }

    /// Works until it is stopped. That is safe at any moment.
    pub(crate) async fn run(self, stop: CancellationToken) {
        // Stopped or ended by itself: both are the end.
        let _ = stop.run_until_cancelled(self.work()).await;
    }

    async fn work(&self) {
        let Inner { parts, board } = &*self.0;
        let mut running: FuturesUnordered<BoxFuture<'static, JobId>> = FuturesUnordered::new();
        let mut under_way: BTreeMap<JobId, Slot> = BTreeMap::new();
        let mut resting: BTreeMap<JobId, Instant> = BTreeMap::new();
        loop {
            let seen = parts.placement.epoch();
            if let Some(placement) = parts.placement.current() {
                board.keep(&placement);
                parts
                    .metrics
                    .show(&placement, parts.placement.own_index(&placement));
            }
            let jobs = self.jobs();
            resting.retain(|id, _| jobs.contains_key(id));
            let now = parts.clock.now();
            for (id, work) in jobs {
                let rests = resting.get(&id).is_some_and(|until| now < *until);
                let slot = work.slot();
                if !rests && self.has_room_for((id, slot), &under_way) {
                    resting.remove(&id);
                    under_way.insert(id, slot);
                    running.push(Box::pin(self.clone().perform(id, work)));
                }
            }
            // One whose rest is over waits for room, and that comes with the end of another one.
            let next = resting
                .values()
                .filter(|until| **until > now)
                .min()
                .copied();
            tokio::select! {
                biased;
                Some(id) = running.next(), if !running.is_empty() => {
                    under_way.remove(&id);
                    let now = parts.clock.now();
                    // What is done is no job any more; the rest is for what is not.
                    resting.insert(id, now + parts.options.retry);
                    if matches!(id, JobId::Erase(_)) && parts.replica.taking_space() < GATHERED {
                        resting.insert(JobId::GiveSpaceBack, now + GATHERED_FOR);
                    }
                }
                () = parts.placement.epoch_after(seen) => {}
                () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
            }
        }
    }

    /// One job of a partition at a time, whichever.
    fn has_room_for(&self, (id, slot): (JobId, Slot), under_way: &BTreeMap<JobId, Slot>) -> bool {
        let limit = match slot {
            Slot::Streams => self.0.parts.options.streams,
            Slot::Comparisons => COMPARISONS,
            Slot::Erasures => 1,
        };
        let partition = partition_of(id);
        let same_partition =
            |other: &JobId| partition.is_some() && partition_of(*other) == partition;
        let alike = under_way.values().filter(|other| **other == slot);
        alike.count() < limit && !under_way.keys().any(same_partition)
    }

    /// The placement in use and this node's place in it, if it has one: a node that is no member does nothing.
    fn here(&self) -> Option<(Arc<Placement>, NodeIndex)> {
        let store = &self.0.parts.placement;
        let placement = store.current()?;
        let own = store.own_index(&placement)?;
        Some((placement, own))
    }

    /// All that is left to do.
    fn jobs(&self) -> BTreeMap<JobId, Work> {
        let store = &self.0.parts.placement;
        let Some(placement) = store.current() else {
            return BTreeMap::new(); // what is held is not known yet
        };
        // Also by a node that is no member any more.
        let released = self.0.parts.replica.released().into_iter();
        let mut jobs: BTreeMap<_, _> = released
            .map(|at| (JobId::Erase(at), Work::Erase(at)))
            .collect();
        if self.0.parts.replica.taking_space() > 0 {
            jobs.insert(JobId::GiveSpaceBack, Work::GiveSpaceBack);
        }
        let Some(own) = store.own_index(&placement) else {
            return jobs;
        };
        for it in placement.moves() {
            let Some(duty) = duty(&placement, own, it) else {
                continue;
            };
            let job = Job {
                placement: placement.clone(),
                it: *it,
                duty,
            };
            if !self.is_done(&job) {
                jobs.insert(JobId::Duty(it.id, it.since), Work::Duty(job));
            }
        }
        jobs
    }

    fn is_done(&self, job: &Job) -> bool {
        let Inner { parts, board } = &*self.0;
        let Some(copy) = parts.replica.vnode(job.it.partition()) else {
            return false;
        };
        board.about(&job.it, copy.vnode_id, |found| match &job.duty {
            Duty::Fill(sources) => copy.rebuilding.is_none_or(|rebuilding| {
                sources.nodes.iter().all(|node| rebuilding.is_read(*node))
            }),
            Duty::Verify(sources) => {
                copy.is_serving
                    && sources
                        .nodes
                        .iter()
                        .all(|node| found.verified.contains(node))
            }
            Duty::Drain(to) => to.iter().all(|node| found.drained.contains(node)),
        })
    }

    async fn perform(self, id: JobId, work: Work) -> JobId {
        let metrics = &self.0.parts.metrics;
        match work {
            Work::Duty(job) => {
                let id = job.it.id;
                let done = match &job.duty {
                    Duty::Fill(sources) => self.fill(&job, sources).await,
                    Duty::Verify(sources) => self.verify(&job, sources).await,
                    Duty::Drain(to) => self.drain(&job, to).await,
                };
                let obstacle = done.err();
                if let Some(obstacle) = &obstacle {
                    metrics.obstacles.inc();
                    tracing::debug!(%id, stage = %job.it.stage, %obstacle, "a move waits");
                }
                let obstacle = obstacle.map(|it| with_names(&it.to_string(), &job.placement));
                self.0.board.attempted(&job.it, obstacle);
            }
            Work::Erase(partition) => match self.0.parts.replica.erase(partition).await {
                Ok(true) => {
                    metrics.erased.inc();
                }
                Ok(false) => {} // it is held again
                Err(error) => tracing::warn!(%partition, %error, "a copy was not deleted"),
            },
            Work::GiveSpaceBack => self.0.parts.replica.give_space_back().await,
        }
        id
    }
}

/// Nodes by their names, which people know, instead of their identities.
fn with_names(text: &str, placement: &Placement) -> String {
    let nodes = placement.nodes().iter();
    nodes.fold(text.to_owned(), |text, node| {
        text.replace(&format!("node {}", node.id), &node.name)
    })
}

fn partition_of(id: JobId) -> Option<PartitionId> {
    match id {
        JobId::Duty(id, _) => Some(id.partition),
        JobId::Erase(partition) => Some(partition),
        JobId::GiveSpaceBack => None,
    }
}

#[cfg(test)]
mod tests {
    use super::with_names;
    use crate::placement::tests::document_of;

    #[test]
    fn an_obstacle_names_nodes_as_people_do() {
        let placement: annulus_ring::Placement = document_of(3, 1).try_into().unwrap();
        let node = &placement.nodes()[1];
        let text = format!("node {}: no answer", node.id);
        assert_eq!(
            with_names(&text, &placement),
            format!("{}: no answer", node.name)
        );
    }
}
