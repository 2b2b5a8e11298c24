//! Drives gossip: time, messages, the view, and whoever holds an older placement.
//!
//! Leaves to others: every decision (`gossip`).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annulus_proto::model::{FieldRefused, RequestError};
use annulus_proto::peer::v1 as pb;
use annulus_ring::{NodeId, RingEpoch};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::facts::{DiskState, NodeFacts};
use super::gossip::{Action, Gossip, Notice, ProbeId, Sighting};
use super::metrics::MembershipMetrics;
use super::options::GossipOptions;
use super::rumor::Rumor;
use super::view::MembershipView;
use super::wire;
use crate::clock::Clock;
use crate::entropy::Randomness;
use crate::peer::Peers;
use crate::placement::PlacementStore;

/// Attempts to reach other nodes on behalf of others, at a time; one more is refused.
const MAX_REACHES: usize = 64;

/// How long a placement may take to be handed over, and how long until it is tried again.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(5);

/// What a node can only be asked for when it is needed.
pub(crate) struct OwnState {
    /// Its restart count.
    pub(crate) generation: u64,
    /// Clients' requests in flight.
    pub(crate) requests_in_flight: Box<dyn Fn() -> u32 + Send + Sync>,
    /// How the disk is.
    pub(crate) disk: Box<dyn Fn() -> DiskState + Send + Sync>,
    /// Bytes of hints that are kept here for other nodes.
    pub(crate) hint_backlog_bytes: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for OwnState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnState")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// What membership is made of.
#[derive(Debug)]
pub(crate) struct MembershipParts {
    /// What it goes by.
    pub(crate) options: GossipOptions,
    /// This node, and who the others are.
    pub(crate) placement: PlacementStore,
    /// The way to them.
    pub(crate) peers: Peers,
    /// What is believed of them, for the rest of the node.
    pub(crate) view: MembershipView,
    /// What this node says of itself.
    pub(crate) own: OwnState,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Randomness: a seed.
    pub(crate) randomness: Arc<dyn Randomness>,
    /// Messages under way; they end by their deadlines.
    pub(crate) tasks: TaskTracker,
    /// Figures.
    pub(crate) metrics: MembershipMetrics,
}

/// This node's part in the ring's gossip. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Membership(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: NodeId,
    gossip: Mutex<Gossip>,
    parts: MembershipParts,
    began: Instant,
    reaches: Semaphore,
    /// Who was handed which placement last, and when.
    handed_over: Mutex<HashMap<NodeId, (RingEpoch, Instant)>>,
}

impl Membership {
    /// Ready to answer; nothing is sent before [`Membership::run`].
    pub(crate) fn new(parts: MembershipParts) -> Self {
        let id = parts.placement.node();
        let seed = parts.randomness.u64();
        let facts = read_facts(&parts);
        let gossip = Gossip::new(id, facts, parts.options.clone(), seed);
        let membership = Self(Arc::new(Inner {
            id,
            gossip: Mutex::new(gossip),
            began: parts.clock.now(),
            parts,
            reaches: Semaphore::new(MAX_REACHES),
            handed_over: Mutex::default(),
        }));
        membership.match_placement();
        membership
    }

    /// Gossips until the token is cancelled.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let parts = &self.0.parts;
        let interval = parts.options.interval;
        let mut epoch = parts.placement.epoch();
        self.match_placement();
        // Nodes that start together should not talk together.
        let micros = u64::try_from(interval.as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        let mut next = parts.clock.now() + Duration::from_micros(parts.randomness.u64() % micros);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = parts.placement.epoch_after(epoch) => {
                    epoch = parts.placement.epoch();
                    self.match_placement();
                }
                () = sleep_until(next) => {
                    self.tick();
                    next = (next + interval).max(parts.clock.now() + interval / 2);
                }
            }
        }
    }

    /// A peer tells what it knows. What this node knows.
    pub(crate) fn told(&self, told: &pb::Gossip) -> Result<pb::GossipReply, FieldRefused> {
        let from = wire::read_node(&told.from);
        let from = from.ok_or_else(|| FieldRefused::invalid("from", "is no node's 16 bytes"))?;
        let rumors = wire::read_rumors(&told.rumors);
        let answer = self.with(|gossip, now| gossip.told(from, &rumors, now));
        self.compare_placements(from, &rumors);
        let reply = pb::GossipReply {
            rumors: wire::rumors(&answer),
        };
        self.count_bytes(reply.encoded_len());
        Ok(reply)
    }

    /// A peer asks to reach a node. Whether it answers.
    pub(crate) async fn reach(
        &self,
        reach: &pb::Reach,
        deadline: Instant,
    ) -> Result<bool, RequestError> {
        let target = wire::read_node(&reach.target);
        let target =
            target.ok_or_else(|| FieldRefused::invalid("target", "is no node's 16 bytes"))?;
        if target == self.0.id {
            return Ok(true);
        }
        let Ok(_permit) = self.0.reaches.try_acquire() else {
            self.0.parts.metrics.refused_reaches.inc();
            let message = format!("{MAX_REACHES} nodes are being reached for others already");
            let interval = self.0.parts.options.interval;
            return Err(RequestError::overloaded(message, interval));
        };
        let within = Duration::from_millis(reach.within_ms.into());
        let deadline = deadline.min(self.0.parts.clock.now() + within);
        let peers = &self.0.parts.peers;
        let reached = peers.reach_through(target, target, within, deadline).await;
        Ok(reached.unwrap_or(false))
    }

    /// Tells some others that this node stops on purpose. Ends soon, whether they hear of it or not.
    pub(crate) async fn leave(&self) {
        let actions = self.0.gossip.lock().leave();
        let told = actions
            .into_iter()
            .map(|action| self.clone().perform(action));
        futures::future::join_all(told).await;
    }

    /// What this node believes of each other one, and why; for people.
    pub(crate) fn sightings(&self) -> Vec<Sighting> {
        let now = self.now();
        self.0.gossip.lock().sightings(now)
    }

    /// 0: this node trusts its observations; up to 8.
    pub(crate) fn local_health(&self) -> u32 {
        self.0.gossip.lock().local_health()
    }

    fn now(&self) -> Duration {
        let parts = &self.0.parts;
        parts.clock.now().saturating_duration_since(self.0.began)
    }

    fn tick(&self) {
        let facts = read_facts(&self.0.parts);
        self.with(|gossip, now| ((), gossip.tick(now, facts)));
        let gossip = self.0.gossip.lock();
        let metrics = &self.0.parts.metrics;
        metrics.local_health.set(gossip.local_health().into());
        metrics.count_peers(gossip.beliefs().map(|(_, liveness)| liveness));
    }

    /// The placement's nodes are the members.
    fn match_placement(&self) {
        let Some(placement) = self.0.parts.placement.current() else {
            return;
        };
        let ids: Vec<_> = placement.nodes().iter().map(|node| node.id).collect();
        let mut gossip = self.0.gossip.lock();
        gossip.set_members(ids.iter().copied());
        self.0.parts.view.set_members(&ids);
        self.show_all(&gossip);
        self.0
            .handed_over
            .lock()
            .retain(|node, _| ids.contains(node));
    }

    /// Something happens to gossip: the view follows, and what is to be done is begun.
    fn with<T>(&self, happens: impl FnOnce(&mut Gossip, Duration) -> (T, Vec<Action>)) -> T {
        let now = self.now();
        let (answer, actions) = {
            let mut gossip = self.0.gossip.lock();
            let done = happens(&mut gossip, now);
            let notices = gossip.take_notices();
            self.show(&gossip, &notices);
            done
        };
        for action in actions {
            self.0.parts.tasks.spawn(self.clone().perform(action));
        }
        answer
    }

    fn show(&self, gossip: &Gossip, notices: &[Notice]) {
        let MembershipParts { view, metrics, .. } = &self.0.parts;
        for notice in notices {
            match notice {
                Notice::Liveness(node, liveness) => {
                    tracing::info!(peer = %node, ?liveness, "a node's liveness changed");
                    if !gossip.is_alone() {
                        view.set_liveness(*node, *liveness);
                    }
                }
                Notice::Accused(node) => {
                    tracing::debug!(peer = %node, "got no answer, nor did those that tried");
                    metrics.accusations.inc();
                }
                Notice::DeclaredDown(_) => {
                    metrics.declared_down.inc();
                }
                Notice::Refuted => {
                    metrics.refutations.inc();
                }
                Notice::Alone(alone) => {
                    tracing::warn!(alone, "whether this node hears of any other one");
                    self.show_all(gossip);
                }
            }
        }
    }

    fn show_all(&self, gossip: &Gossip) {
        for (node, liveness) in gossip.beliefs() {
            self.0.parts.view.set_liveness(node, liveness);
        }
    }

    /// Boxed, because what follows from an answer is more of the same.
    fn perform(self, action: Action) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            match action {
                Action::Tell {
                    to,
                    probe,
                    rumors,
                    within,
                } => self.tell(to, probe, &rumors, within).await,
                Action::AskHelper {
                    helper,
                    target,
                    probe,
                    within,
                } => {
                    let parts = &self.0.parts;
                    let deadline = parts.clock.now() + 2 * within;
                    let reached = parts.peers.reach_through(helper, target, within, deadline);
                    let reached = reached.await.ok();
                    self.with(|gossip, now| {
                        gossip.helper_said(probe, reached, now);
                        ((), Vec::new())
                    });
                }
            }
        })
    }

    async fn tell(&self, to: NodeId, probe: ProbeId, rumors: &[Rumor], within: Duration) {
        let MembershipParts {
            peers,
            clock,
            metrics,
            ..
        } = &self.0.parts;
        let message = pb::Gossip {
            from: wire::node(self.0.id),
            rumors: wire::rumors(rumors),
        };
        metrics.messages.inc();
        self.count_bytes(message.encoded_len());
        if let Ok(reply) = peers.gossip(to, message, clock.now() + within).await {
            let rumors = wire::read_rumors(&reply.rumors);
            self.with(|gossip, now| ((), gossip.answered(probe, to, &rumors, now)));
            self.compare_placements(to, &rumors);
        } else {
            metrics.unanswered.inc();
            self.with(|gossip, now| ((), gossip.unanswered(probe, now)));
        }
    }

    fn count_bytes(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.0.parts.metrics.bytes.inc_by(bytes);
    }

    /// Whoever says that it holds an older placement is handed ours. Nothing else that is said about
    /// placements has any effect.
    fn compare_placements(&self, from: NodeId, rumors: &[Rumor]) {
        let Some(said) = rumors.iter().find_map(|rumor| rumor.said_by(from)) else {
            return;
        };
        let MembershipParts {
            placement, clock, ..
        } = &self.0.parts;
        let Some(held) = placement.current() else {
            return;
        };
        if said.epoch == held.epoch() && said.fingerprint != held.fingerprint() {
            self.0.parts.metrics.placement_conflicts.inc();
            tracing::error!(peer = %from, epoch = %said.epoch, "two placements of one epoch");
        }
        if said.epoch >= held.epoch() || placement.own_index(&held).is_none() {
            return;
        }
        let (epoch, now) = (held.epoch(), clock.now());
        let last = self.0.handed_over.lock().insert(from, (epoch, now));
        if last.is_some_and(|(was, at)| was == epoch && now < at + HAND_OVER_TIMEOUT) {
            return;
        }
        let membership = self.clone();
        self.0.parts.tasks.spawn(async move {
            let deadline = now + HAND_OVER_TIMEOUT;
            membership
                .0
                .parts
                .peers
                .bring_up_to_date(from, deadline)
                .await
        });
    }
}

/// What this node can say of itself now.
fn read_facts(parts: &MembershipParts) -> NodeFacts {
    let placement = parts.placement.current();
    NodeFacts {
        generation: parts.own.generation,
        requests_in_flight: (parts.own.requests_in_flight)(),
        disk: (parts.own.disk)(),
        hint_backlog_bytes: (parts.own.hint_backlog_bytes)(),
        epoch: placement.as_ref().map_or(RingEpoch(0), |held| held.epoch()),
        fingerprint: placement.map_or(0, |held| held.fingerprint()),
    }
}
