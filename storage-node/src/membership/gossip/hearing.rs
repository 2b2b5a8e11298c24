//! What follows from what is heard, and from silence: pure.

use std::time::Duration;

use annulus_ring::NodeId;

use super::{Action, Gossip, Notice};
use crate::membership::members::Place;
use crate::membership::rumor::{Accuser, Accusers, Rumor, Standing, Told};
use crate::membership::spreading::News;
use crate::membership::view::Liveness;
use crate::mistake::{self, Mistake};

impl Gossip {
    /// Takes rumors in. What this node contradicts it tells at once.
    pub(super) fn hear(&mut self, from: NodeId, rumors: &[Rumor], now: Duration) -> Vec<Action> {
        self.heard_somebody(now);
        if let Some(place) = self.members.place_of(from) {
            self.members.heard(place, now);
        }
        let mut contradicted = false;
        for rumor in rumors {
            if rumor.node == self.id {
                contradicted |= self.contradict(&rumor.told);
            } else if let Some(place) = self.members.place_of(rumor.node) {
                self.join(place, &rumor.told, now);
                self.correct(place, &rumor.told);
            }
        }
        let mut actions = Vec::new();
        if contradicted {
            self.talk(&mut actions);
        }
        actions
    }

    /// Whoever accuses an earlier run of a node has not heard of the present one, and can't be contradicted
    /// by it: it is told with the next message, the answer first of all.
    fn correct(&mut self, place: Place, told: &Told) {
        let is_outdated = told.generation < self.members.get(place).told.generation;
        if is_outdated && told.standing.liveness != Liveness::Alive {
            self.spreading.add(place, News::Standing);
        }
    }

    pub(super) fn heard_somebody(&mut self, now: Duration) {
        self.last_heard = now;
        if self.alone {
            self.alone = false;
            self.notices.push(Notice::Alone(false));
        }
    }

    /// Whether anything is held against this node. It outbids that, and is alive again for everybody.
    fn contradict(&mut self, told: &Told) -> bool {
        if self.leaving || told.generation < self.own.generation {
            return false;
        }
        if told.generation > self.own.generation {
            // Somebody knew a later run of this node than this one: its disk is an older copy.
            self.own.generation = told.generation + 1;
            self.own.standing = Standing::default();
        } else if told.standing > self.own.standing {
            self.own.standing = Standing {
                refutations: told.standing.refutations.saturating_add(1),
                liveness: Liveness::Alive,
            };
        } else {
            return false;
        }
        self.own.heartbeat += 1;
        self.health.worse(1);
        self.notices.push(Notice::Refuted);
        true
    }

    fn join(&mut self, place: Place, told: &Told, now: Duration) -> bool {
        let held = self.members.get(place);
        let (before, is_first) = (held.liveness(), held.told.generation == 0);
        let changed = self.members.join(place, told, now);
        let member = self.members.get(place);
        let (id, liveness) = (member.id, member.liveness());
        let has_spoken = member.told.heartbeat > 0;
        // What this node is the last to learn is no news: a node that starts would repeat everything.
        let is_news = !is_first || liveness != Liveness::Alive || before != Liveness::Alive;
        if changed.standing && is_news {
            self.spreading.add(place, News::Standing);
        }
        if liveness != before {
            self.notices.push(Notice::Liveness(id, liveness));
        }
        if changed.facts && has_spoken && is_news {
            self.spreading.add(place, News::Facts);
        }
        changed.standing
    }

    /// Says that a node is suspect. It is one more voice if others say so already.
    pub(super) fn accuse(&mut self, target: Place, now: Duration) {
        let held = self.members.get(target);
        if self.leaving || held.liveness() == Liveness::Down {
            return;
        }
        let id = held.id;
        let told = Told {
            standing: Standing {
                liveness: Liveness::Suspect,
                ..held.told.standing
            },
            accusers: Accusers::one(Accuser::of(self.id)),
            ..held.told
        };
        if self.join(target, &told, now) {
            self.notices.push(Notice::Accused(id));
        }
    }

    /// Neither the target nor any helper answered: that speaks against this node as much as against them.
    pub(super) fn without_witness(&mut self, target: Place, now: Duration) {
        self.health.worse(1);
        if mistake::is_made(Mistake::SlowObserverAccuses) {
            self.accuse(target, now);
        }
    }

    /// Whose time has passed without a contradiction is down.
    pub(super) fn judge_suspects(&mut self, now: Duration) {
        if self.alone {
            return;
        }
        let overdue = |place: &Place| {
            let member = self.members.get(*place);
            let lasts = self.times.lasts(member.told.accusers.count());
            member
                .suspect_since
                .is_some_and(|since| now.saturating_sub(since) >= lasts)
        };
        let overdue: Vec<_> = self.members.suspects().filter(overdue).collect();
        for place in overdue {
            let held = self.members.get(place);
            let id = held.id;
            let told = Told {
                standing: Standing {
                    liveness: Liveness::Down,
                    ..held.told.standing
                },
                ..held.told
            };
            if self.join(place, &told, now) {
                self.notices.push(Notice::DeclaredDown(id));
            }
        }
    }

    /// A process that was stopped, or starved, has missed answers and contradictions: what it waited for
    /// proves nothing.
    pub(super) fn notice_sleep(&mut self, now: Duration) {
        let interval = self.options.interval;
        let due = self.last_tick.map_or(now, |last| last + interval);
        self.last_tick = Some(now);
        let slept = now.saturating_sub(due);
        if slept < interval || mistake::is_made(Mistake::SlowObserverAccuses) {
            return;
        }
        let missed = slept.as_millis() / interval.as_millis().max(1);
        self.health
            .worse(usize::try_from(missed).unwrap_or(usize::MAX));
        self.probes.clear();
        self.members.forgive(slept);
        self.last_heard = now;
    }

    /// Who hears of nobody for as long as it takes to be down is cut off, or the last one: it accuses
    /// nobody, and expects nothing of anybody.
    pub(super) fn notice_solitude(&mut self, now: Duration) {
        let patience = self.times.shortest() + 2 * self.options.interval;
        let silent = now.saturating_sub(self.last_heard) >= patience;
        if silent && !self.alone && self.members.len() > 0 {
            self.alone = true;
            self.notices.push(Notice::Alone(true));
        }
    }
}
