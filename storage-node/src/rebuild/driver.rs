//! Goes from vnode to vnode, as long as there is one to mend: one at a time, so that what is taken from others is
//! bounded by one rate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use annulus_ring::{NodeId, PartitionId, Placement};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{Copy, Pulled, Puller, RebuildMetrics, RebuildOptions};
use crate::clock::Clock;
use crate::entropy::Randomness;
use crate::keyspace::Keyspaces;
use crate::overload::{Allowance, Class, Overload, Throttle};
use crate::peer::Peers;
use crate::placement::PlacementStore;
use crate::replica::{Origin, Rebuilding, Replica, ReplicaError, Unsound, owners_needed};

/// What a rebuilder is made of.
#[derive(Debug, Clone)]
pub(crate) struct RebuilderParts {
    /// This node's copies.
    pub(crate) replica: Replica,
    /// The other nodes.
    pub(crate) peers: Peers,
    /// Who owns what.
    pub(crate) placement: PlacementStore,
    /// The keyspaces.
    pub(crate) keyspaces: Arc<Keyspaces>,
    /// How far it gives way to clients.
    pub(crate) overload: Overload,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Randomness: nodes that try the same at once don't try again at once.
    pub(crate) randomness: Arc<dyn Randomness>,
    /// How.
    pub(crate) options: RebuildOptions,
    /// Figures.
    pub(crate) metrics: RebuildMetrics,
}

/// Of a disk that counts as lost so many vnodes are without their data at a time; the others serve what is good.
const MOST_GIVEN_UP: usize = 16;

/// Mends this node's vnodes.
#[derive(Debug)]
pub(crate) struct Rebuilder {
    parts: RebuilderParts,
    pace: StreamPace,
    /// When each loss was seen first in this run, and which memory of the vnode it took.
    lost_at: BTreeMap<PartitionId, (u64, Instant)>,
    /// Vnodes that gave up damaged data in this run and are not whole yet. What an earlier run gave up is no sign of
    /// new damage.
    given_up: BTreeSet<PartitionId>,
    /// The disk counts as lost; until all vnodes are whole.
    distrusts_disk: bool,
}

/// One vnode that is being mended, under one placement.
struct Job {
    copy: Copy,
    /// The partition's other owners.
    others: Vec<NodeId>,
}

/// The share of the rate that clients leave.
#[derive(Debug)]
struct StreamPace {
    allowance: Mutex<Allowance>,
    overload: Overload,
    clock: Arc<dyn Clock>,
}

impl Throttle for StreamPace {
    async fn spend(&self, bytes: usize) {
        let (share, now) = (self.overload.share(Class::Stream), self.clock.now());
        let owed = {
            let mut allowance = self.allowance.lock();
            allowance.spend(bytes as u64, share, now);
            allowance.owed(now)
        };
        sleep(owed).await; // paced: the rate of rebuilding
    }
}

impl Rebuilder {
    /// A rebuilder made of these parts.
    pub(crate) fn new(parts: RebuilderParts) -> Self {
        let (rate, now) = (parts.options.bytes_per_second, parts.clock.now());
        let pace = StreamPace {
            allowance: Mutex::new(Allowance::new(rate, Duration::ZERO, now)),
            overload: parts.overload.clone(),
            clock: parts.clock.clone(),
        };
        Self {
            pace,
            lost_at: BTreeMap::new(),
            given_up: BTreeSet::new(),
            distrusts_disk: false,
            parts,
        }
    }

    /// Works until it is dropped. That is safe at any moment: what was done is on disk.
    pub(crate) async fn run(mut self) {
        loop {
            let seen = self.parts.placement.epoch();
            let left = self.mend_all().await;
            let retry = self.retry();
            tokio::select! {
                biased;
                () = self.parts.replica.attention() => {}
                () = self.parts.placement.epoch_after(seen) => {}
                () = sleep(retry), if left => {}
            }
        }
    }

    /// One attempt for each unsound vnode. Whether any is left that another attempt could mend.
    async fn mend_all(&mut self) -> bool {
        let mut unsound = self.parts.replica.unsound();
        let count = |vnodes: &[Unsound]| i64::try_from(vnodes.len()).unwrap_or(i64::MAX);
        self.parts.metrics.unsound.set(count(&unsound));
        let Some(placement) = self.parts.placement.current() else {
            return false; // its coming wakes us up
        };
        if self.loses_disk(&placement, &unsound) {
            self.parts.replica.distrust_disk();
            unsound = self.parts.replica.unsound();
        }
        let mut left = false;
        for vnode in unsound {
            left |= !self.mend(&placement, vnode).await;
        }
        self.parts
            .metrics
            .unsound
            .set(count(&self.parts.replica.unsound()));
        left
    }

    /// Whether so many vnodes are damaged that the disk counts as lost from now on. Those that nobody else holds
    /// do not count: they can't be given up.
    fn loses_disk(&mut self, placement: &Arc<Placement>, unsound: &[Unsound]) -> bool {
        self.distrusts_disk &= !unsound.is_empty();
        let is_unsound =
            |given_up: &PartitionId| unsound.iter().any(|it| it.partition == *given_up);
        self.given_up.retain(is_unsound);
        let met_damage =
            |vnode: &&Unsound| vnode.is_damaged || self.given_up.contains(&vnode.partition);
        let is_held_elsewhere = |vnode: &&Unsound| {
            let others = self.job(placement, vnode).map_or(0, |job| job.others.len());
            others >= owners_needed(others)
        };
        let damaged = unsound.iter().filter(met_damage).filter(is_held_elsewhere);
        let damaged = damaged.count();
        if self.distrusts_disk || damaged <= self.parts.options.most_damaged {
            return false;
        }
        tracing::error!(
            damaged,
            "the disk counts as lost: all of its vnodes are rebuilt"
        );
        self.parts.metrics.disks_lost.inc();
        self.distrusts_disk = true;
        true
    }

    /// Whether nothing is left to do for this vnode.
    async fn mend(&mut self, placement: &Arc<Placement>, vnode: Unsound) -> bool {
        let Some(job) = self.job(placement, &vnode) else {
            return true;
        };
        let mended = match vnode.rebuilding {
            // Also in the middle of being filled: what it took so far is damaged, too.
            _ if vnode.is_damaged => self.give_up(&job).await,
            None => Ok(true),
            Some(rebuilding) if self.is_quiet(&job, rebuilding.origin) => {
                self.fill(&job, rebuilding).await
            }
            Some(_) => Ok(false),
        };
        mended.unwrap_or_else(|error| {
            tracing::debug!(partition = %job.copy.partition, %error, "vnode not mended");
            false
        })
    }

    /// Owners mend their copies; and so does who is about to leave the others, until all that it had is brought to them.
    fn job(&self, placement: &Arc<Placement>, vnode: &Unsound) -> Option<Job> {
        let own = self.parts.placement.own_index(placement)?;
        let owners = placement.owners(vnode.partition);
        let it = placement.move_of(vnode.partition);
        let leaves = it.is_some_and(|it| it.remove == Some(own));
        if !leaves && !owners.contains(&own) {
            return None;
        }
        let others = owners.iter().filter(|owner| **owner != own);
        Some(Job {
            copy: Copy {
                placement: placement.clone(),
                partition: vnode.partition,
                incarnation: vnode.incarnation,
            },
            others: others.map(|owner| placement.node(*owner).id).collect(),
        })
    }

    /// A damaged vnode gives up its data, if enough others have theirs. It is filled in a later attempt.
    async fn give_up(&mut self, job: &Job) -> Result<bool, ReplicaError> {
        let needed = owners_needed(job.others.len());
        if job.others.len() < needed {
            return Ok(true); // there is nobody to take the data from: all but the damaged keys stays
        }
        let has_room = self.parts.replica.has_room_for_background();
        let is_turn = !self.distrusts_disk || self.given_up.len() < MOST_GIVEN_UP;
        if !has_room || !is_turn {
            return Ok(false); // it could not be filled now, and most of it is good
        }
        let replica = &self.parts.replica;
        if self.serving_others(job).await < needed {
            return Ok(false);
        }
        let partition = job.copy.partition;
        replica.set_suspended(partition, true);
        // Asked again: one that does the same at this moment has stopped serving, or sees that we have.
        if self.serving_others(job).await < needed {
            replica.set_suspended(partition, false);
            return Ok(false);
        }
        let given_up = replica.give_up(partition, job.copy.incarnation).await;
        if given_up.is_err() {
            replica.set_suspended(partition, false);
        }
        given_up?;
        self.given_up.insert(partition);
        self.parts.metrics.given_up.inc();
        Ok(false)
    }

    async fn serving_others(&self, job: &Job) -> usize {
        let mut serving = 0;
        for other in &job.others {
            let who = self.puller().ask_for_page(&job.copy, *other, None, 0).await;
            serving += usize::from(who.is_ok_and(|who| who.serving));
        }
        serving
    }

    /// Whether every request has ended that may have counted on what was lost.
    fn is_quiet(&mut self, job: &Job, origin: Origin) -> bool {
        if matches!(origin, Origin::New | Origin::Joining) {
            return true; // nothing ever counted on it
        }
        let now = self.parts.clock.now();
        let (partition, incarnation) = (job.copy.partition, job.copy.incarnation);
        let seen = self.lost_at.entry(partition);
        let seen = seen.or_insert((incarnation, now));
        if seen.0 != incarnation {
            *seen = (incarnation, now);
        }
        now >= seen.1 + self.parts.options.longest_request
    }

    fn puller(&self) -> Puller<'_> {
        let parts = &self.parts;
        Puller {
            replica: &parts.replica,
            peers: &parts.peers,
            keyspaces: &parts.keyspaces,
            clock: parts.clock.as_ref(),
            page_bytes: parts.options.page_bytes,
            counters: (&parts.metrics.keys, &parts.metrics.bytes),
        }
    }

    async fn fill(&mut self, job: &Job, mut rebuilding: Rebuilding) -> Result<bool, ReplicaError> {
        let (puller, copy) = (self.puller(), &job.copy);
        for other in &job.others {
            let pulled = puller.pull(copy, *other, &mut rebuilding, &self.pace);
            if let Pulled::Part(why) = pulled.await? {
                tracing::debug!(partition = %copy.partition, %other, why, "not all was taken");
            }
        }
        if !rebuilding.is_complete(&job.others) {
            return Ok(false);
        }
        let replica = &self.parts.replica;
        replica.serve(copy.partition, copy.incarnation).await?;
        self.given_up.remove(&copy.partition);
        self.parts.metrics.made_whole.inc();
        Ok(true)
    }

    /// Half as long to one and a half times as long as configured.
    fn retry(&self) -> Duration {
        let retry = self.parts.options.retry;
        let share = u32::try_from(self.parts.randomness.u64() % 1000).expect("below 1000");
        retry / 2 + retry * share / 1000
    }
}
