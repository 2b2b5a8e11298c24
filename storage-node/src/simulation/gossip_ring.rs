//! A ring that does nothing but gossip: the real protocol in an event loop of its own, without tasks,
//! sockets or encoded messages, so that a day of a hundred nodes passes within a minute.
//!
//! A message takes a millisecond or a few, may get lost, and takes longer to and from a node that is slow;
//! a node that stands still takes part again when it goes on, with everything that came meanwhile.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use annulus_proto::peer::v1 as pb;
use annulus_ring::NodeId;
use prost::Message as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::layout::id_of;
use crate::membership::{
    Action, Gossip, GossipOptions, Liveness, NodeFacts, Notice, ProbeId, Rumor, wire,
};

/// What happened in a ring, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingFigures {
    /// Messages, questions and answers.
    pub messages: u64,
    /// Their bytes, if they are measured.
    pub bytes: u64,
    /// Nodes that accused another one that was alive.
    pub false_accusations: u64,
    /// Nodes that came to believe that another one is down which was not.
    pub false_downs: u64,
    /// Nodes that came to believe that they hear of nobody, so that they ask nobody.
    pub alone: u64,
    /// Accusations that were contradicted.
    pub refutations: u64,
}

/// See the module. Nodes are known by their numbers, from 0.
pub struct GossipRing {
    nodes: Vec<Node>,
    events: BinaryHeap<Reverse<Due>>,
    order: u64,
    now: Duration,
    chance: SmallRng,
    lost_per_mille: u32,
    measured: bool,
    figures: RingFigures,
    accusations: Vec<u64>,
}

struct Node {
    gossip: Gossip,
    facts: NodeFacts,
    is_up: bool,
    run: u32,
    /// Longest time on top for each message to or from it.
    slow: Duration,
    still_until: Duration,
}

struct Due {
    at: Duration,
    /// Of two that are due at the same time, the one that was made first.
    order: u64,
    node: usize,
    run: u32,
    event: Event,
}

enum Event {
    Tick,
    Asked {
        from: usize,
        run: u32,
        probe: ProbeId,
        rumors: Vec<Rumor>,
        deadline: Duration,
    },
    Answered {
        from: usize,
        probe: ProbeId,
        rumors: Vec<Rumor>,
    },
    Unanswered(ProbeId),
    HelperSaid(ProbeId, Option<bool>),
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl GossipRing {
    /// So many nodes with the usual settings, all up.
    pub fn new(nodes: u16, seed: u64) -> Self {
        let mut ring = Self {
            nodes: Vec::new(),
            events: BinaryHeap::new(),
            order: 0,
            now: Duration::ZERO,
            chance: SmallRng::seed_from_u64(seed),
            lost_per_mille: 0,
            measured: false,
            figures: RingFigures::default(),
            accusations: vec![0; nodes.into()],
        };
        for number in 0..nodes {
            let facts = NodeFacts {
                generation: 1,
                ..NodeFacts::default()
            };
            let gossip = ring.gossip_of(number, nodes, facts);
            ring.nodes.push(Node {
                gossip,
                facts,
                is_up: true,
                run: 0,
                slow: Duration::ZERO,
                still_until: Duration::ZERO,
            });
            ring.start_ticking(number.into());
        }
        ring
    }

    fn gossip_of(&mut self, number: u16, nodes: u16, facts: NodeFacts) -> Gossip {
        let seed = self.chance.random();
        let mut gossip = Gossip::new(name(number.into()), facts, GossipOptions::default(), seed);
        gossip.set_members((0..nodes).map(|number| name(number.into())));
        gossip
    }

    fn start_ticking(&mut self, node: usize) {
        let interval = GossipOptions::default().interval;
        let first = interval.mul_f64(self.chance.random());
        self.later(first, node, Event::Tick);
    }

    /// So many messages in a thousand get lost.
    pub fn set_lost_per_mille(&mut self, lost: u32) {
        self.lost_per_mille = lost;
    }

    /// Each message to or from the node takes up to so much longer.
    pub fn set_slow(&mut self, node: usize, by: Duration) {
        self.nodes[node].slow = by;
    }

    /// The node stands still for so long, and goes on then.
    pub fn stand_still(&mut self, node: usize, lasts: Duration) {
        self.nodes[node].still_until = self.now + lasts;
    }

    /// Messages are encoded to know their size.
    pub fn measure(&mut self) {
        self.measured = true;
        self.figures = RingFigures::default();
    }

    /// The node is gone.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].is_up = false;
        self.nodes[node].run += 1;
    }

    /// The node starts again, and knows nothing of the others.
    pub fn restart(&mut self, node: usize) {
        let count = u16::try_from(self.nodes.len()).expect("it was one when the ring was made");
        let number = u16::try_from(node).expect("a node's number");
        let mut facts = self.nodes[node].facts;
        facts.generation += 1;
        let gossip = self.gossip_of(number, count, facts);
        let restarted = &mut self.nodes[node];
        (restarted.gossip, restarted.facts, restarted.is_up) = (gossip, facts, true);
        self.start_ticking(node);
    }

    /// The node's disk is as full as that: news for everybody.
    pub fn say_disk_is_full(&mut self, node: usize) {
        self.nodes[node].facts.disk = crate::membership::DiskState::Full;
    }

    /// How many of the nodes that are up know that.
    pub fn know_that_disk_is_full(&self, node: usize) -> usize {
        let know = |other: &Node| {
            let sightings = other.gossip.sightings(self.now);
            let facts = sightings
                .iter()
                .find(|sighting| sighting.node == name(node));
            facts
                .and_then(|sighting| sighting.facts)
                .is_some_and(|facts| facts.disk == crate::membership::DiskState::Full)
        };
        self.up().filter(|(_, other)| know(other)).count()
    }

    /// How many of the nodes that are up believe the node to be up, suspect, and down.
    pub fn beliefs_about(&self, node: usize) -> [usize; 3] {
        let mut counts = [0; 3];
        for (_, other) in self.up().filter(|(number, _)| *number != node) {
            let belief = other.gossip.beliefs().find(|(id, _)| *id == name(node));
            counts[belief.map_or(Liveness::Alive, |belief| belief.1) as usize] += 1;
        }
        counts
    }

    /// How often the node accused others.
    pub fn accusations_by(&self, node: usize) -> u64 {
        self.accusations[node]
    }

    /// What happened so far.
    pub fn figures(&self) -> RingFigures {
        self.figures
    }

    fn up(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.is_up)
    }

    /// Goes on for so long.
    pub fn run_for(&mut self, lasts: Duration) {
        let until = self.now + lasts;
        while self
            .events
            .peek()
            .is_some_and(|Reverse(due)| due.at <= until)
        {
            let Some(Reverse(due)) = self.events.pop() else {
                break;
            };
            self.now = due.at;
            self.happen(due);
        }
        self.now = until;
    }

    fn happen(&mut self, due: Due) {
        let node = &self.nodes[due.node];
        if due.run != node.run {
            return;
        }
        if node.still_until > self.now {
            let wait = node.still_until.saturating_sub(self.now);
            self.later(wait, due.node, due.event);
            return;
        }
        let (now, number) = (self.now, due.node);
        let gossip = &mut self.nodes[number].gossip;
        let actions = match due.event {
            Event::Tick => {
                let facts = self.nodes[number].facts;
                let actions = self.nodes[number].gossip.tick(now, facts);
                let interval = GossipOptions::default().interval;
                self.later(interval, number, Event::Tick);
                actions
            }
            Event::Asked {
                from,
                run,
                probe,
                rumors,
                deadline,
            } => {
                let (answer, actions) = gossip.told(name(from), &rumors, now);
                self.answer(number, (from, run), probe, answer, deadline);
                actions
            }
            Event::Answered {
                from,
                probe,
                rumors,
            } => gossip.answered(probe, name(from), &rumors, now),
            Event::Unanswered(probe) => gossip.unanswered(probe, now),
            Event::HelperSaid(probe, reached) => {
                gossip.helper_said(probe, reached, now);
                Vec::new()
            }
        };
        self.note(number);
        for action in actions {
            self.perform(number, action);
        }
    }

    fn note(&mut self, node: usize) {
        for notice in self.nodes[node].gossip.take_notices() {
            match notice {
                Notice::Accused(other) => {
                    self.accusations[node] += 1;
                    let is_up = self.nodes[number_of(other)].is_up;
                    self.figures.false_accusations += u64::from(is_up);
                }
                Notice::Liveness(other, Liveness::Down) => {
                    let is_up = self.nodes[number_of(other)].is_up;
                    self.figures.false_downs += u64::from(is_up);
                }
                Notice::Refuted => self.figures.refutations += 1,
                Notice::Alone(alone) => self.figures.alone += u64::from(alone),
                Notice::Liveness(..) | Notice::DeclaredDown(_) => {}
            }
        }
    }

    fn perform(&mut self, node: usize, action: Action) {
        match action {
            Action::Tell {
                to,
                probe,
                rumors,
                within,
            } => {
                self.count(&rumors);
                let to = number_of(to);
                let deadline = self.now + within;
                let arrives = self.travel(node, to).filter(|_| self.nodes[to].is_up);
                let run = self.nodes[node].run;
                if arrives.is_none_or(|takes| takes >= within) {
                    self.later(within, node, Event::Unanswered(probe));
                }
                if let Some(takes) = arrives {
                    let asked = Event::Asked {
                        from: node,
                        run,
                        probe,
                        rumors,
                        deadline,
                    };
                    self.later(takes, to, asked);
                }
            }
            Action::AskHelper {
                helper,
                target,
                probe,
                within,
            } => {
                let said = self.help(node, number_of(helper), number_of(target), within);
                let (after, reached) = match said {
                    Some((after, reached)) if after <= 2 * within => (after, Some(reached)),
                    _ => (2 * within, None),
                };
                self.later(after, node, Event::HelperSaid(probe, reached));
            }
        }
    }

    /// When a helper's word comes, if it does, and what it says.
    fn help(
        &mut self,
        node: usize,
        helper: usize,
        target: usize,
        within: Duration,
    ) -> Option<(Duration, bool)> {
        let there = self.travel(node, helper)?;
        if !self.takes_part(helper, there) {
            return None;
        }
        let tried = self
            .travel(helper, target)
            .filter(|takes| self.takes_part(target, *takes));
        let took = tried.and_then(|takes| Some(takes + self.travel(target, helper)?));
        let reached = took.filter(|took| *took <= within);
        let back = self.travel(helper, node)?;
        Some((there + reached.unwrap_or(within) + back, reached.is_some()))
    }

    fn takes_part(&self, node: usize, after: Duration) -> bool {
        let node = &self.nodes[node];
        node.is_up && node.still_until <= self.now + after
    }

    fn answer(
        &mut self,
        node: usize,
        (to, run): (usize, u32),
        probe: ProbeId,
        rumors: Vec<Rumor>,
        deadline: Duration,
    ) {
        self.count(&rumors);
        let takes = self.travel(node, to);
        if run != self.nodes[to].run || self.now >= deadline {
            return; // gone, or it was told already that no answer came
        }
        let left = deadline.saturating_sub(self.now);
        let (after, event) = match takes {
            Some(takes) if takes < left => {
                let from = node;
                (
                    takes,
                    Event::Answered {
                        from,
                        probe,
                        rumors,
                    },
                )
            }
            _ => (left, Event::Unanswered(probe)),
        };
        self.later(after, to, event);
    }

    /// How long a message takes; `None`: it gets lost.
    fn travel(&mut self, from: usize, to: usize) -> Option<Duration> {
        if self.lost_per_mille > 0 && self.chance.random_range(0..1000) < self.lost_per_mille {
            return None;
        }
        let slow = self.nodes[from].slow + self.nodes[to].slow;
        let extra = if slow.is_zero() {
            Duration::ZERO
        } else {
            slow.mul_f64(self.chance.random())
        };
        Some(Duration::from_micros(self.chance.random_range(200..3000)) + extra)
    }

    fn later(&mut self, after: Duration, node: usize, event: Event) {
        self.order += 1;
        self.events.push(Reverse(Due {
            at: self.now + after,
            order: self.order,
            node,
            run: self.nodes.get(node).map_or(0, |node| node.run),
            event,
        }));
    }

    fn count(&mut self, rumors: &[Rumor]) {
        self.figures.messages += 1;
        if self.measured {
            let from = wire::node(id_of(1));
            let rumors = wire::rumors(rumors);
            let gossip = pb::request::Body::Gossip(pb::Gossip { from, rumors });
            let request = pb::Request {
                session: String::new(),
                id: 1 << 20,
                epoch: 100,
                deadline_ms: 500,
                body: Some(gossip),
            };
            let bytes = u64::try_from(request.encoded_len()).unwrap_or(u64::MAX);
            self.figures.bytes += bytes;
        }
    }
}

fn name(number: usize) -> NodeId {
    id_of(u16::try_from(number + 1).expect("at most a thousand and some nodes"))
}

fn number_of(id: NodeId) -> usize {
    let number = usize::try_from(id.0.as_u128()).expect("a name that was made here");
    number - 1
}
