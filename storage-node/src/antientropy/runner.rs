//! The driver of the schedule: one comparison at a time, for as long as the node runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use annulus_ring::{NodeId, PartitionId, Placement, RingEpoch};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::comparison::{Comparison, ComparisonError, Purpose};
use super::exchange::{Outcome, RoundLimit};
use super::metrics::{AntiEntropyMetrics, ComparisonLabels, LagCollector};
use super::schedule::{ComparisonStatus, Next, PairId, Reason, Schedule, Timing};
use crate::clock::Clock;
use crate::entropy::Randomness;
use crate::hints::{Hints, MarkNumber};
use crate::keyspace::Keyspaces;
use crate::membership::MembershipView;
use crate::overload::{Allowance, Class, Overload, Throttle};
use crate::peer::{Peers, Reachability};
use crate::placement::{PlacementStore, comparable, takes_writes};
use crate::replica::Replica;

/// How often it looks who is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// So much of the allowance may gather.
pub(super) const SAVES: Duration = Duration::from_secs(1);

/// The pause before the second look is at least this share of the longest.
const SHORTEST_CONFIRM: f64 = 0.4;

/// What is set from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Between two comparisons of a pair.
    pub(crate) interval: Duration,
    /// Within this time every pair is to be compared.
    pub(crate) bound: Duration,
    /// An owner that comes back after so long is compared at once.
    pub(crate) outage: Duration,
    /// Longest pause before the second look; the shortest is 0.4 of it.
    pub(crate) confirm_after: Duration,
    /// What may pass in the long run.
    pub(crate) bytes_per_second: u64,
    /// Leaves of one round.
    pub(crate) leaves_per_round: usize,
}

/// What anti-entropy is made of.
#[derive(Debug)]
pub(crate) struct AntiEntropyParts {
    pub(crate) settings: Settings,
    pub(crate) placement: PlacementStore,
    pub(crate) keyspaces: Arc<Keyspaces>,
    pub(crate) replica: Replica,
    pub(crate) peers: Peers,
    pub(crate) membership: MembershipView,
    pub(crate) hints: Hints,
    /// How far it gives way to clients.
    pub(crate) overload: Overload,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) randomness: Arc<dyn Randomness>,
    pub(crate) metrics: AntiEntropyMetrics,
}

/// Compares this node's copies with the other owners'. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct AntiEntropy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: AntiEntropyParts,
    schedule: Mutex<Schedule>,
    allowance: Mutex<Allowance>,
    asked: Notify,
    /// Of the pairs that hints have marked, those that the schedule knows of.
    marked: Mutex<BTreeSet<PairId>>,
}

/// How far behind comparisons are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lag {
    /// The longest time that a pair was not compared.
    pub(crate) longest: Duration,
    /// How long that may be.
    pub(crate) bound: Duration,
    /// Pairs over the bound.
    pub(crate) overdue: usize,
    /// All pairs.
    pub(crate) pairs: usize,
}

impl Throttle for AntiEntropy {
    async fn spend(&self, bytes: usize) {
        let now = self.0.parts.clock.now();
        let share = self.0.parts.overload.share(Class::AntiEntropy);
        let wait = {
            let mut allowance = self.0.allowance.lock();
            allowance.spend(bytes as u64, share, now);
            allowance.owed(now)
        };
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

impl AntiEntropy {
    /// Made of these parts; does nothing until [`Self::run`].
    pub(crate) fn new(parts: AntiEntropyParts) -> Self {
        let Settings {
            interval,
            outage,
            bytes_per_second,
            ..
        } = parts.settings;
        let allowance = Allowance::new(bytes_per_second, SAVES, parts.clock.now());
        Self(Arc::new(Inner {
            schedule: Mutex::new(Schedule::new(Timing { interval, outage })),
            allowance: Mutex::new(allowance),
            asked: Notify::new(),
            marked: Mutex::default(),
            parts,
        }))
    }

    /// Registers its metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.0.parts.metrics.register(registry);
        registry.register_collector(Box::new(LagCollector(self.clone())));
    }

    /// Compares a partition with another owner's as soon as possible: somebody knows, or fears, that they
    /// differ. Whether both nodes own it.
    pub(crate) fn request(&self, partition: PartitionId, peer: NodeId, reason: Reason) -> bool {
        let (pair, now) = ((partition, peer), self.0.parts.clock.now());
        let known = self.0.schedule.lock().request(pair, reason, now);
        if known {
            self.0.asked.notify_one();
        }
        known
    }

    /// How far behind comparisons are.
    pub(crate) fn lag(&self) -> Lag {
        let bound = self.0.parts.settings.bound;
        let statuses = self.statuses();
        let lags = statuses.iter().map(|status| status.lag);
        Lag {
            longest: lags.clone().max().unwrap_or_default(),
            bound,
            overdue: lags.filter(|lag| *lag > bound).count(),
            pairs: statuses.len(),
        }
    }

    /// The comparisons that this node begins regularly.
    pub(crate) fn statuses(&self) -> Vec<ComparisonStatus> {
        let now = self.0.parts.clock.now();
        self.0.schedule.lock().statuses(now)
    }

    /// Works until it is stopped.
    pub(crate) async fn run(self, stop: CancellationToken) {
        // Stopped or ended by itself: both are the end.
        let _ = stop.run_until_cancelled(self.work()).await;
    }

    async fn work(&self) {
        let mut held = RingEpoch(0);
        loop {
            let seen = self.0.parts.placement.epoch();
            let placement = self.0.parts.placement.current();
            if let Some(placement) = placement.filter(|placement| placement.epoch() != held) {
                held = placement.epoch();
                self.take_up(&placement);
            }
            self.look_who_is_there();
            self.look_what_hints_lost();
            let now = self.0.parts.clock.now();
            let next = self.0.schedule.lock().next(now);
            match next {
                Next::Compare(pair, reason) => self.compare(pair, reason).await,
                Next::Rest(until) => {
                    let look = now + LOOK_EVERY;
                    tokio::select! {
                        biased;
                        () = self.0.parts.placement.epoch_after(seen) => {}
                        () = self.0.asked.notified() => {}
                        () = sleep_until(until.map_or(look, |until| until.min(look))) => {}
                    }
                }
            }
        }
    }

    fn take_up(&self, placement: &Placement) {
        let parts = &self.0.parts;
        let own = parts.placement.own_index(placement);
        let compared =
            |partition: &PartitionId| comparable(placement, *partition).any(|one| Some(one) == own);
        let partitions = placement.partitions().ids().filter(compared);
        let pairs = partitions.flat_map(|partition| {
            let others = comparable(placement, partition).filter(move |one| Some(*one) != own);
            others.map(move |other| {
                let peer = placement.node(other).id;
                ((partition, peer), parts.placement.node() < peer)
            })
        });
        let draw = || parts.randomness.u64();
        let now = parts.clock.now();
        self.0.schedule.lock().set_pairs(pairs, now, draw);
        self.0.marked.lock().clear();
    }

    fn look_who_is_there(&self) {
        let now = self.0.parts.clock.now();
        let mut schedule = self.0.schedule.lock();
        for peer in schedule.peers() {
            let is_away = self.0.parts.membership.is_down(peer)
                || self.0.parts.peers.reachability(peer) == Reachability::Unreachable;
            schedule.observe(peer, is_away, now);
        }
    }

    /// What hints have lost is asked for once, until it was compared: after failures the schedule tries again
    /// by itself, with pauses. What the peer does not own any more it does not lack; nor what this node does not own any
    /// more, for it has brought all of that to the owners. A pair may be one later: who joins is compared once it is
    /// filled.
    fn look_what_hints_lost(&self) {
        let parts = &self.0.parts;
        let Some(placement) = parts.placement.current() else {
            return;
        };
        let own = parts.placement.node();
        let mut marked = self.0.marked.lock();
        for pair in parts.hints.repairs_needed() {
            let (partition, peer) = pair;
            if marked.contains(&pair) {
                continue;
            }
            if self.request(partition, peer, Reason::HintsDropped) {
                marked.insert(pair);
            } else if !may_lack(&placement, pair) || !may_lack(&placement, (partition, own)) {
                self.mended(pair, parts.hints.mark(partition, peer));
            }
        }
    }

    fn mended(&self, (partition, peer): PairId, mark: Option<MarkNumber>) {
        if let Some(mark) = mark {
            self.0.parts.hints.repaired(partition, peer, mark);
        }
    }

    async fn compare(&self, pair: PairId, reason: Reason) {
        let parts = &self.0.parts;
        let mark = parts.hints.mark(pair.0, pair.1);
        let began = parts.clock.now();
        let result = self.compare_pair(pair).await;
        let took = parts.clock.now().saturating_duration_since(began);
        parts.metrics.seconds.observe(took.as_secs_f64());
        let (well, outcome) = match &result {
            Ok(outcome) => (outcome.is_complete(), self.tell(pair, reason, outcome)),
            Err(error) => {
                let (partition, peer) = pair;
                tracing::debug!(%partition, %peer, %error, "a comparison of copies ended early");
                (false, "failed")
            }
        };
        let labels = ComparisonLabels {
            reason: reason.as_str(),
            outcome,
        };
        parts.metrics.comparisons.get_or_create(&labels).inc();
        let (now, draw) = (parts.clock.now(), parts.randomness.u64());
        self.0.schedule.lock().ended(pair, well, now, draw);
        if well {
            self.mended(pair, mark);
            self.0.marked.lock().remove(&pair);
        }
    }

    fn tell(&self, (partition, peer): PairId, reason: Reason, outcome: &Outcome) -> &'static str {
        let metrics = &self.0.parts.metrics;
        metrics.suspects.inc_by(outcome.suspects as u64);
        metrics.unreadable_leaves.inc_by(outcome.unreadable as u64);
        if outcome.keys > 0 || outcome.unreadable > 0 {
            let reason = reason.as_str();
            tracing::info!(%partition, %peer, reason, ?outcome, "copies differed");
        }
        match outcome {
            outcome if !outcome.is_complete() => "incomplete",
            outcome if outcome.keys > 0 => "repaired",
            _ => "same",
        }
    }

    async fn compare_pair(&self, (partition, peer): PairId) -> Result<Outcome, ComparisonError> {
        let parts = &self.0.parts;
        let settings = &parts.settings;
        let comparison = Comparison {
            partition,
            peer,
            purpose: Purpose::Upkeep,
            placement: parts.placement.require()?,
            replica: &parts.replica,
            peers: &parts.peers,
            keyspaces: &parts.keyspaces,
            clock: parts.clock.as_ref(),
            metrics: &parts.metrics,
        };
        let limit = RoundLimit {
            leaves: settings.leaves_per_round,
            ..RoundLimit::default()
        };
        let draw = parts.randomness.fraction();
        let share = SHORTEST_CONFIRM + (1.0 - SHORTEST_CONFIRM) * draw;
        let confirm_after = settings.confirm_after.mul_f64(share);
        comparison.run(limit, confirm_after, self).await
    }
}

fn may_lack(placement: &Placement, (partition, peer): PairId) -> bool {
    let index = placement.index_of(peer);
    index.is_some_and(|index| takes_writes(placement, partition, index))
}
