//! Whom to talk to, and what to tell: pure.

use rand::Rng as _;
use rand::seq::SliceRandom as _;

use super::{Action, Gossip};
use crate::membership::facts::NodeFacts;
use crate::membership::members::Place;
use crate::membership::rumor::Rumor;
use crate::membership::view::Liveness;

/// One message in so many intervals goes to a node that is down, so that a ring that was split finds
/// together again.
const KNOCK_EVERY: u64 = 4;

/// What moves all the time (load, backlogs) is said once in so many intervals at most.
const CASUAL_FACTS_EVERY: u64 = 10;

impl Gossip {
    /// To the next ones in turn that are not down; if all are, to those.
    pub(super) fn talk(&mut self, actions: &mut Vec<Action>) {
        let before = actions.len();
        self.talk_to(actions, |liveness| liveness != Liveness::Down);
        if actions.len() == before {
            self.talk_to(actions, |_| true);
        }
    }

    fn talk_to(&mut self, actions: &mut Vec<Action>, wanted: impl Fn(Liveness) -> bool) {
        let mut left = self.options.fanout.min(self.members.len());
        let mut chosen = Vec::with_capacity(left);
        for _ in 0..self.members.len() {
            if left == 0 {
                return;
            }
            let place = self.next_in_turn();
            // The order may have been shuffled meanwhile.
            if wanted(self.members.get(place).liveness()) && !chosen.contains(&place) {
                chosen.push(place);
                actions.push(self.tell(place));
                left -= 1;
            }
        }
    }

    /// Each member once, in an order that changes every time.
    fn next_in_turn(&mut self) -> Place {
        if self.next >= self.order.len() {
            self.order.shuffle(&mut self.chance);
            self.next = 0;
        }
        self.next += 1;
        self.order[self.next - 1]
    }

    /// Now and then, a node that is down.
    pub(super) fn knock(&mut self, actions: &mut Vec<Action>) {
        if !self.ticks.is_multiple_of(KNOCK_EVERY) {
            return;
        }
        let down = |place: &Place| self.members.get(*place).liveness() == Liveness::Down;
        let down: Vec<_> = (0..self.members.len()).filter(down).collect();
        if !down.is_empty() {
            let place = down[self.chance.random_range(0..down.len())];
            actions.push(self.tell(place));
        }
    }

    fn tell(&mut self, place: Place) -> Action {
        Action::Tell {
            to: self.members.get(place).id,
            probe: self.probes.begin(place),
            rumors: self.message(Some(place)),
            within: self.health.stretch(self.options.probe_timeout),
        }
    }

    /// What this node says of itself first; then what is held against the one it is told to, who shall hear
    /// of that before anybody else.
    pub(super) fn message(&mut self, to: Option<Place>) -> Vec<Rumor> {
        let mut places = Vec::with_capacity(8);
        let accused = |place: &Place| self.members.get(*place).liveness() != Liveness::Alive;
        places.extend(to.filter(accused));
        self.spreading.fill(&mut places);
        let own = Rumor {
            node: self.id,
            told: self.own,
        };
        let others = places.into_iter().map(|place| self.members.rumor(place));
        std::iter::once(own).chain(others).collect()
    }

    /// What is news at once, and what can wait.
    pub(super) fn say(&mut self, facts: NodeFacts) {
        let said = &self.own.facts;
        let is_news = (facts.disk, facts.epoch, facts.fingerprint)
            != (said.disk, said.epoch, said.fingerprint);
        let is_due = facts != *said && self.ticks >= self.casual_facts_at;
        if is_news || is_due {
            self.own.facts = facts;
            self.own.heartbeat += 1;
            self.casual_facts_at = self.ticks + CASUAL_FACTS_EVERY;
        }
    }

    /// Some that are alive, drawn by lot.
    pub(super) fn choose_helpers(&mut self, target: Place) -> Vec<Place> {
        let able = |place: &Place| {
            *place != target && self.members.get(*place).liveness() == Liveness::Alive
        };
        let mut able: Vec<_> = (0..self.members.len()).filter(able).collect();
        let (chosen, _) = able.partial_shuffle(&mut self.chance, self.options.helpers);
        chosen.to_vec()
    }
}
