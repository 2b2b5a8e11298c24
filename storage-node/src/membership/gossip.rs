//! One node's side of gossip: pure. `(state, what happened, when)` gives what to send and what changed.
//!
//! Every interval this node talks to `fanout` others, each once before any a second time. A message carries
//! what this node says of itself and some [rumors](super::rumor), and so does its answer; a message is also
//! a probe: one that is not answered has [others try](super::probes), and if they fail too the target is
//! suspect, hears of it from whoever talks to it next, and contradicts. A suspicion that is not contradicted
//! [in time](super::suspicion) makes it down.
//!
//! Invariants:
//! - the members are those that this node was given; nothing that anybody says adds or removes one;
//! - a node that hears from nobody, or was asleep, accuses nobody ([`Outcome::Alone`], [`Gossip::tick`]);
//! - a node contradicts whatever is said against its present generation, and is alive again.
//!
//! | module | owns |
//! |---|---|
//! | [`talking`] | whom to talk to, and what to tell |
//! | [`hearing`] | what follows from what is heard, and from silence |
//!
//! Leaves to others: sending, time and randomness (`driver`).

mod hearing;
mod talking;

use std::time::Duration;

use annulus_ring::NodeId;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::facts::NodeFacts;
use super::local_health::LocalHealth;
use super::members::{Member, Members, Place};
use super::options::GossipOptions;
pub(crate) use super::probes::ProbeId;
use super::probes::{Outcome, Probes};
use super::rumor::{Accuser, Accusers, Rumor, Told};
use super::spreading::Spreading;
use super::suspicion::SuspicionTimes;
use super::view::Liveness;

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Tells a node all this, and wants an answer within the time.
    Tell {
        /// The node.
        to: NodeId,
        /// For [`Gossip::answered`] and [`Gossip::unanswered`].
        probe: ProbeId,
        /// What is told.
        rumors: Vec<Rumor>,
        /// How long the answer may take.
        within: Duration,
    },
    /// Has a node try to reach another one.
    AskHelper {
        /// The node that is to try.
        helper: NodeId,
        /// Whom.
        target: NodeId,
        /// For [`Gossip::helper_said`].
        probe: ProbeId,
        /// How long its own attempt may take; twice that for its answer.
        within: Duration,
    },
}

/// Something that became known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Notice {
    /// The belief about a node changed.
    Liveness(NodeId, Liveness),
    /// This node accuses another one.
    Accused(NodeId),
    /// A suspicion's time ended here.
    DeclaredDown(NodeId),
    /// This node contradicted an accusation.
    Refuted,
    /// This node hears of nobody any more, or does again.
    Alone(bool),
}

/// What this node believes of another one, and why.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sighting {
    /// The other node.
    pub(crate) node: NodeId,
    /// The belief.
    pub(crate) liveness: Liveness,
    /// Its restart count, as gossip has it; 0: nothing came here.
    pub(crate) generation: u64,
    /// How much it has said since it started, as far as it came here.
    pub(crate) heartbeat: u64,
    /// What it last said of itself.
    pub(crate) facts: Option<NodeFacts>,
    /// How long ago it answered or asked this node.
    pub(crate) heard_ago: Option<Duration>,
    /// How long it has been suspect here.
    pub(crate) suspect_for: Option<Duration>,
    /// Who accuses it, as far as they are members; at most four are known.
    pub(crate) accusers: Vec<NodeId>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Gossip {
    id: NodeId,
    own: Told,
    options: GossipOptions,
    members: Members,
    times: SuspicionTimes,
    spreading: Spreading,
    probes: Probes,
    health: LocalHealth,
    chance: SmallRng,
    /// In which order others are talked to, and who is next.
    order: Vec<Place>,
    next: usize,
    ticks: u64,
    last_tick: Option<Duration>,
    casual_facts_at: u64,
    last_heard: Duration,
    alone: bool,
    leaving: bool,
    notices: Vec<Notice>,
}

impl Gossip {
    /// A node that starts, and says these facts of itself.
    pub(crate) fn new(id: NodeId, facts: NodeFacts, options: GossipOptions, seed: u64) -> Self {
        let own = Told {
            generation: facts.generation,
            heartbeat: 1,
            facts,
            ..Told::default()
        };
        let times = SuspicionTimes::new(1, options.down_after, options.longest_factor);
        Self {
            id,
            own,
            options,
            members: Members::default(),
            times,
            spreading: Spreading::default(),
            probes: Probes::default(),
            health: LocalHealth::default(),
            chance: SmallRng::seed_from_u64(seed),
            order: Vec::new(),
            next: 0,
            ticks: 0,
            last_tick: None,
            casual_facts_at: 0,
            last_heard: Duration::ZERO,
            alone: false,
            leaving: false,
            notices: Vec::new(),
        }
    }

    /// The nodes of a new placement are the members from now on.
    pub(crate) fn set_members(&mut self, ids: impl IntoIterator<Item = NodeId>) {
        let others = ids.into_iter().filter(|id| *id != self.id).collect();
        self.members.set(others);
        let count = self.members.len();
        let GossipOptions {
            down_after,
            longest_factor,
            ..
        } = self.options;
        self.times = SuspicionTimes::new(count + 1, down_after, longest_factor);
        let turn = if count == 0 {
            0
        } else {
            self.chance.random_range(0..count)
        };
        self.spreading = Spreading::new(count, turn);
        self.probes.clear();
        self.order = (0..count).collect();
        self.next = count; // shuffles before the first is talked to
    }

    /// An interval has passed.
    pub(crate) fn tick(&mut self, now: Duration, facts: NodeFacts) -> Vec<Action> {
        self.ticks += 1;
        self.notice_sleep(now);
        self.say(facts);
        self.judge_suspects(now);
        self.notice_solitude(now);
        let mut actions = Vec::with_capacity(self.options.fanout + 1);
        self.talk(&mut actions);
        self.knock(&mut actions);
        actions
    }

    /// A node told this, unasked. What to answer, and what else to do.
    pub(crate) fn told(
        &mut self,
        from: NodeId,
        rumors: &[Rumor],
        now: Duration,
    ) -> (Vec<Rumor>, Vec<Action>) {
        let actions = self.hear(from, rumors, now);
        let place = self.members.place_of(from);
        (self.message(place), actions)
    }

    /// A message was answered with this.
    pub(crate) fn answered(
        &mut self,
        probe: ProbeId,
        from: NodeId,
        rumors: &[Rumor],
        now: Duration,
    ) -> Vec<Action> {
        if self.probes.answered(probe) {
            self.health.better();
        }
        self.hear(from, rumors, now)
    }

    /// A message was not answered in time: others shall try.
    pub(crate) fn unanswered(&mut self, probe: ProbeId, now: Duration) -> Vec<Action> {
        let Some(target) = self.probes.target(probe) else {
            return Vec::new();
        };
        if self.members.get(target).liveness() == Liveness::Down {
            self.probes.answered(probe);
            return Vec::new();
        }
        let helpers = self.choose_helpers(target);
        if helpers.is_empty() {
            self.probes.answered(probe);
            self.without_witness(target, now);
            return Vec::new();
        }
        self.probes.ask(probe, helpers.len());
        let within = self.health.stretch(self.options.probe_timeout);
        let target = self.members.get(target).id;
        let ask = |helper: Place| Action::AskHelper {
            helper: self.members.get(helper).id,
            target,
            probe,
            within,
        };
        helpers.into_iter().map(ask).collect()
    }

    /// A helper says whether it reached the node in question; `None`: it says nothing.
    pub(crate) fn helper_said(&mut self, probe: ProbeId, reached: Option<bool>, now: Duration) {
        if reached.is_some() {
            self.heard_somebody(now);
        }
        match self.probes.helper_said(probe, reached) {
            Some((_, Outcome::Reached)) => self.health.better(),
            Some((target, Outcome::Witnessed { silent })) => {
                self.health.worse(silent);
                self.accuse(target, now);
            }
            Some((target, Outcome::Alone)) => self.without_witness(target, now),
            None => {}
        }
    }

    /// This node stops on purpose: the others need not find out by themselves.
    pub(crate) fn leave(&mut self) -> Vec<Action> {
        self.leaving = true;
        self.own.heartbeat += 1;
        self.own.standing.liveness = Liveness::Down;
        let mut actions = Vec::new();
        self.talk(&mut actions);
        actions
    }

    /// What became known since this was last asked for.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// What is believed of each other member, ascending by id.
    pub(crate) fn beliefs(&self) -> impl Iterator<Item = (NodeId, Liveness)> + '_ {
        let alone = self.alone;
        self.members.iter().map(move |member| {
            let liveness = if alone {
                Liveness::Down
            } else {
                member.liveness()
            };
            (member.id, liveness)
        })
    }

    /// Whether this node hears of nobody.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// What is believed of each other member and why, ascending by id; for people.
    pub(crate) fn sightings(&self, now: Duration) -> Vec<Sighting> {
        let accusers = |accusers: Accusers| {
            let others = self.members.iter().map(|member| member.id);
            let named = others.chain([self.id]);
            let named = named.filter(|id| accusers.iter().any(|held| held == Accuser::of(*id)));
            named.collect()
        };
        let liveness = self.beliefs().map(|(_, liveness)| liveness);
        let sighting = |(member, liveness): (&Member, Liveness)| Sighting {
            node: member.id,
            liveness,
            generation: member.told.generation,
            heartbeat: member.told.heartbeat,
            facts: (member.told.heartbeat > 0).then_some(member.told.facts),
            heard_ago: member.heard.map(|heard| now.saturating_sub(heard)),
            suspect_for: member.suspect_since.map(|since| now.saturating_sub(since)),
            accusers: if member.suspect_since.is_some() {
                accusers(member.told.accusers)
            } else {
                Vec::new()
            },
        };
        self.members.iter().zip(liveness).map(sighting).collect()
    }

    /// 0: this node trusts its observations; up to 8: it gives others nine times as long to answer.
    pub(crate) fn local_health(&self) -> u32 {
        self.health.score()
    }
}
