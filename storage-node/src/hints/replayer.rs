//! Delivers hints when their targets are back: one task a target that is owed something. The driver.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annulus_ring::{NodeId, RingEpoch};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempts::{Attempts, Next};
use super::delivery::Page;
use super::store::Hints;
use crate::clock::Clock;
use crate::entropy::Randomness;
use crate::membership::{Liveness, MembershipView};
use crate::peer::{Peers, Reachability};
use crate::placement::PlacementStore;

/// How often it is looked whether a target can be reached. Belief in its life is told at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When a sweep that could not hand over all is made again.
const SWEEP_AGAIN: Duration = Duration::from_secs(30);

/// What is counted but not there yet is about to be written.
const SETTLES_IN: Duration = Duration::from_millis(100);

/// What delivers hints.
#[derive(Debug)]
pub(crate) struct ReplayerParts {
    /// What is kept.
    pub(crate) hints: Hints,
    /// The other nodes.
    pub(crate) peers: Peers,
    /// Which of them are alive.
    pub(crate) membership: MembershipView,
    /// Who owns what.
    pub(crate) placement: PlacementStore,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Randomness, for pauses.
    pub(crate) randomness: Arc<dyn Randomness>,
    /// Where the deliveries run.
    pub(crate) tasks: TaskTracker,
    /// Ends them.
    pub(crate) stop: CancellationToken,
}

/// See the module. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Replayer(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) parts: ReplayerParts,
    /// The targets that have a task.
    served: Mutex<BTreeSet<NodeId>>,
}

impl fmt::Debug for Replayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replayer")
            .field("served", &self.0.served.lock().len())
            .finish_non_exhaustive()
    }
}

impl Replayer {
    /// Nothing is delivered before [`Self::start`].
    pub(crate) fn new(parts: ReplayerParts) -> Self {
        Self(Arc::new(Inner {
            parts,
            served: Mutex::default(),
        }))
    }

    /// Delivers from now on, until the stop.
    pub(crate) fn start(&self) {
        let (replayer, stop) = (self.clone(), self.0.parts.stop.clone());
        self.0.parts.tasks.spawn(async move {
            // Cancelled or ended by itself: both are the end.
            let _ = stop.run_until_cancelled(replayer.watch()).await;
        });
    }

    async fn watch(&self) {
        let mut changes = self.0.parts.hints.changes();
        loop {
            for (target, _) in self.0.parts.hints.backlog() {
                self.serve(target);
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn serve(&self, target: NodeId) {
        if !self.0.served.lock().insert(target) {
            return;
        }
        let (replayer, stop) = (self.clone(), self.0.parts.stop.clone());
        self.0.parts.tasks.spawn(async move {
            let _ = stop
                .run_until_cancelled(replayer.serve_to_the_end(target))
                .await;
        });
    }

    async fn serve_to_the_end(&self, target: NodeId) {
        let mut delivery = Delivery {
            attempts: Attempts::new(
                self.0.parts.hints.0.limits.replay_jitter,
                self.0.parts.hints.0.limits.probe_interval,
                self.0.parts.clock.now(),
            ),
            cursor: None,
            left: false,
            swept_at: RingEpoch(0),
            next_sweep: self.0.parts.clock.now(),
        };
        loop {
            {
                // Under the lock: a hint that is counted after this look finds the target without a task.
                let mut served = self.0.served.lock();
                if self.0.parts.hints.backlog_of(target).hints == 0 {
                    served.remove(&target);
                    return;
                }
            }
            self.step(target, &mut delivery).await;
        }
    }

    async fn step(&self, target: NodeId, delivery: &mut Delivery) {
        let (now, random) = (self.0.parts.clock.now(), self.0.parts.randomness.u64());
        let seen = self.0.parts.membership.changes();
        match delivery.attempts.next(self.is_alive(target), random, now) {
            Next::Go => self.go(target, delivery).await,
            Next::Wait(until) => {
                self.sweep(target, delivery).await;
                let until = until.min(self.0.parts.clock.now() + LOOK_EVERY);
                tokio::select! {
                    biased;
                    () = self.0.parts.membership.changed_since(seen) => {}
                    () = sleep_until(until) => {}
                }
            }
        }
    }

    async fn go(&self, target: NodeId, delivery: &mut Delivery) {
        match self.deliver_page(target, true, &mut delivery.cursor).await {
            Page::Done => delivery.attempts.succeeded(),
            Page::Left => delivery.left = true,
            Page::Unreached => delivery.attempts.failed(self.0.parts.clock.now()),
            Page::End if delivery.left => {
                delivery.left = false;
                delivery.attempts.failed(self.0.parts.clock.now());
            }
            Page::End => sleep_until(self.0.parts.clock.now() + SETTLES_IN).await,
        }
    }

    /// Deals with what needs no word from the target: what others own now, once in each epoch; what is too
    /// old, now and then.
    async fn sweep(&self, target: NodeId, delivery: &mut Delivery) {
        let Some(placement) = self.0.parts.placement.current() else {
            return;
        };
        let is_new = delivery.swept_at != placement.epoch();
        if !is_new && self.0.parts.clock.now() < delivery.next_sweep {
            return;
        }
        let (mut cursor, mut left) = (None, false);
        loop {
            match self.deliver_page(target, false, &mut cursor).await {
                Page::Done => {}
                Page::Left => left = true,
                Page::End => break,
                Page::Unreached => {
                    left = true;
                    break;
                }
            }
        }
        delivery.swept_at = placement.epoch();
        let pause = if left {
            SWEEP_AGAIN
        } else {
            self.0.parts.hints.0.limits.ttl / 4
        };
        delivery.next_sweep = self.0.parts.clock.now() + pause;
    }

    /// Whether it makes sense to send to it. A node that has left owns nothing: its hints go to others.
    fn is_alive(&self, target: NodeId) -> bool {
        let is_member = self
            .0
            .parts
            .placement
            .current()
            .is_none_or(|placement| placement.index_of(target).is_some());
        !is_member
            || self.0.parts.membership.liveness(target) != Liveness::Down
                && self.0.parts.peers.reachability(target) == Reachability::Connected
    }
}

/// How far the delivery to one target is.
struct Delivery {
    attempts: Attempts,
    /// The last key that was dealt with in this pass.
    cursor: Option<Bytes>,
    /// Something of this pass stays.
    left: bool,
    /// The epoch of the last sweep.
    swept_at: RingEpoch,
    next_sweep: Instant,
}
