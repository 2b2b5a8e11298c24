//! The members that the ring is to have: now, on the way, and in the end.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use annulus_ring::{
    Capacity, Desired as RingDesired, Node, NodeId, NodeState, Placement, ReplicationFactor, Zone,
};

use crate::membership::founding::node;
use crate::membership::moving::Kind;
use crate::membership::moving::join_barrier::passes;
use crate::membership::moving::losses::Losses;
use crate::membership::moving::presence::{Presence, displaced, is_displaced, presence};
use crate::membership::step::Founder;
use crate::membership::view::{Desired, Observed, ObservedNode, Seat};

/// The members to be.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// What changes, as far as the members tell.
    pub(super) kind: Kind,
    /// New nodes that do not answer yet.
    pub(super) awaited: Vec<String>,
    /// New members that are to be given vnodes.
    pub(super) joining: Vec<String>,
    /// Members that are to leave.
    pub(super) leaving: Vec<String>,
    /// What they wait for, in words.
    pub(super) waits: Vec<String>,
    now: Members,
    end: Members,
    replication_factor: ReplicationFactor,
    /// The same, or what the ring has, until enough nodes have joined for more.
    replication_factor_now: ReplicationFactor,
    displaces: bool,
}

#[derive(Clone, Debug, Default)]
struct Members {
    nodes: Vec<Node>,
    gone: BTreeSet<NodeId>,
    /// They do not answer now. The goal knows none.
    away: BTreeSet<NodeId>,
}

impl Members {
    fn desired(&self, replication_factor: ReplicationFactor) -> RingDesired<'_> {
        RingDesired {
            nodes: &self.nodes,
            replication_factor,
            gone: &self.gone,
            away: &self.away,
        }
    }

    fn are_enough_for(&self, copies: ReplicationFactor) -> bool {
        let nodes = self.nodes.iter();
        let active = nodes.filter(|node| node.state == NodeState::Active);
        active.count() >= usize::from(copies.get())
    }
}

impl Target {
    /// What the next epoch is to lead to.
    pub(super) fn on_the_way(&self) -> RingDesired<'_> {
        self.now.desired(self.replication_factor_now)
    }

    /// What the ring is to be in the end, as far as its nodes are known.
    pub(super) fn goal(&self) -> RingDesired<'_> {
        self.end.desired(self.replication_factor)
    }

    /// Whether nodes are on their way in or out, whatever moves.
    pub(super) fn is_under_way(&self) -> bool {
        self.changes_members() || !self.awaited.is_empty()
    }

    /// Whether members are.
    pub(super) fn changes_members(&self) -> bool {
        !self.joining.is_empty() || !self.leaving.is_empty() || self.displaces
    }
}

/// Works the members out.
pub(super) fn target(
    ring: &Placement,
    observed: &Observed,
    desired: &Desired,
    losses: &Losses,
) -> Target {
    let replication_factor =
        ReplicationFactor::new(desired.replication_factor).unwrap_or(ring.replication_factor());
    let mut making = Making {
        ring,
        observed,
        desired,
        losses,
        target: Target {
            kind: Kind::Rebalance,
            awaited: Vec::new(),
            joining: Vec::new(),
            leaving: Vec::new(),
            waits: Vec::new(),
            now: Members::default(),
            end: Members::default(),
            replication_factor,
            replication_factor_now: replication_factor,
            displaces: false,
        },
    };
    for (name, seat) in &desired.nodes {
        making.seat(name, seat);
    }
    making.members_without_seat();
    making.hold_until_joined();
    let is_away = |member: &&Node| presence(member, observed) != Presence::Present;
    let away = ring.nodes().iter().filter(is_away);
    making.target.now.away = away.map(|member| member.id).collect();
    making.target.kind = making.kind();
    making.target
}

struct Making<'a> {
    ring: &'a Placement,
    observed: &'a Observed,
    desired: &'a Desired,
    losses: &'a Losses,
    target: Target,
}

impl Making<'_> {
    /// A node that the spec asks for.
    fn seat(&mut self, name: &str, seat: &Seat) {
        let seen = self.observed.nodes.get(name);
        let member = self.ring.nodes().iter().find(|node| node.name == name);
        match member {
            Some(member) if self.losses.empty.contains(&member.id) => {
                self.target.displaces = true;
                self.newcomer(name, seat, seen);
            }
            Some(member) if self.losses.replaced.contains(&member.id) => {
                self.target.displaces = true;
                self.replace(member, seat, seen);
            }
            Some(member) => self.keep(member, seat, seen),
            None => {
                self.newcomer(name, seat, seen);
            }
        }
    }

    /// A member that the spec asks for as well. One that was to leave and still owns something,
    /// stays; one that owns nothing passes the join barrier first.
    fn keep(&mut self, member: &Node, seat: &Seat, seen: Option<&ObservedNode>) {
        let zone = seen.and_then(|node| node.zone.clone());
        let mut node = Node {
            capacity: capacity(seat),
            zone: zone.map_or_else(|| member.zone.clone(), Zone),
            ..member.clone()
        };
        if seen.is_some_and(|node| node.drain) {
            node.state = NodeState::Draining;
            self.target.end.nodes.push(node.clone());
            self.target.now.nodes.push(node);
            return;
        }
        node.state = NodeState::Active;
        self.target.end.nodes.push(node.clone());
        let owns_nothing = self
            .ring
            .index_of(member.id)
            .is_some_and(|index| self.ring.is_unused(index));
        if member.state == NodeState::Draining && owns_nothing {
            if let Err(wait) = passes(self.ring, self.observed, member) {
                node.state = NodeState::Draining;
                self.target.waits.push(wait);
            }
            self.target.joining.push(member.name.clone());
        }
        self.target.now.nodes.push(node);
    }

    /// A node that is no member yet, if it is known well enough: then it becomes one, without
    /// vnodes.
    fn newcomer(&mut self, name: &str, seat: &Seat, seen: Option<&ObservedNode>) -> bool {
        let known = seen.and_then(|node| Some((node.report.as_ref()?, node.zone.as_ref()?)));
        let Some((report, zone)) = known else {
            self.target.awaited.push(name.to_owned());
            let wait = format!("{name} does not answer yet");
            self.target.waits.push(wait);
            return false;
        };
        let of_another_ring = report
            .holds
            .is_some_and(|held| held.cluster_id != self.ring.cluster_id());
        if of_another_ring || self.ring.node_by_id(report.id).is_some() {
            // Its disk is another's: a finding of its own.
            return false;
        }
        let founder = Founder {
            name: name.to_owned(),
            id: report.id,
            zone: zone.clone(),
            capacity: seat.capacity,
        };
        let node = node(&self.desired.cluster, &self.desired.namespace, &founder);
        self.target.end.nodes.push(node.clone());
        self.target.now.nodes.push(Node {
            state: NodeState::Draining,
            ..node
        });
        self.target.joining.push(name.to_owned());
        true
    }

    /// A member that is given up. The node in its place becomes a member beside it first; without
    /// one, what it owned goes to the others, if there are enough of them.
    fn replace(&mut self, member: &Node, seat: &Seat, seen: Option<&ObservedNode>) {
        self.target.end.gone.insert(member.id);
        if self.newcomer(&member.name, seat, seen) {
            self.target.now.nodes.push(displaced(member));
        } else if self.desired.nodes.len() > usize::from(self.target.replication_factor.get()) {
            self.target.now.gone.insert(member.id);
        } else {
            self.target.now.nodes.push(member.clone());
        }
    }

    /// Members that the spec does not ask for: they leave. One that was displaced stays until the
    /// node in its place has passed the join barrier; one that owns nothing any more, until it
    /// has delivered its hints.
    fn members_without_seat(&mut self) {
        for member in self.ring.nodes() {
            if self.desired.nodes.contains_key(&member.name) {
                continue;
            }
            if is_displaced(member) {
                self.displaced_member(member);
                continue;
            }
            self.target.leaving.push(member.name.clone());
            if self.losses.replaced.contains(&member.id) {
                self.target.now.gone.insert(member.id);
                self.target.end.gone.insert(member.id);
            }
            let index = self.ring.index_of(member.id);
            if index.is_some_and(|index| self.ring.is_unused(index))
                && let Some(wait) = self.unfinished(member)
            {
                self.target.waits.push(wait);
                self.target.now.nodes.push(Node {
                    state: NodeState::Draining,
                    ..member.clone()
                });
            }
        }
    }

    /// While new nodes are on their way in, there are no more copies than before where there are too few nodes for them,
    /// and those that leave stay as they are where too few others would be left: else there is no plan, and without a
    /// plan nobody becomes a member.
    fn hold_until_joined(&mut self) {
        let target = &mut self.target;
        let are_coming = !target.joining.is_empty() || !target.awaited.is_empty();
        if !are_coming || target.now.are_enough_for(target.replication_factor) {
            return;
        }
        let copies = target
            .replication_factor
            .min(self.ring.replication_factor());
        target.replication_factor_now = copies;
        if copies < target.replication_factor {
            let wait = "more copies are made once the new nodes have joined";
            target.waits.push(wait.to_owned());
        }
        if target.now.are_enough_for(copies) {
            return;
        }
        let takes = |member: &&Node| {
            let is_active = member.state == NodeState::Active;
            is_active && !target.now.gone.contains(&member.id) && !is_displaced(member)
        };
        let takers: Vec<&Node> = self.ring.nodes().iter().filter(takes).collect();
        for member in takers {
            let known = target.now.nodes.iter_mut().find(|it| it.id == member.id);
            match known {
                Some(node) if node.state == NodeState::Active => continue,
                Some(node) => node.state = NodeState::Active,
                None => target.now.nodes.push(member.clone()),
            }
            let wait = format!("{} stays until the new nodes have joined", member.name);
            target.waits.push(wait);
        }
    }

    fn displaced_member(&mut self, member: &Node) {
        self.target.displaces = true;
        self.target.end.gone.insert(member.id);
        let active = |name: &String| {
            let mut nodes = self.target.now.nodes.iter();
            nodes.any(|node| node.name == *name && node.state == NodeState::Active)
        };
        if self.target.joining.iter().all(active) {
            self.target.now.gone.insert(member.id);
        } else {
            self.target.now.nodes.push(member.clone());
        }
    }

    /// What a leaver without vnodes has still to do.
    fn unfinished(&self, member: &Node) -> Option<String> {
        let name = &member.name;
        match self.observed.report_of(member) {
            Some(report) if report.hints > 0 => {
                Some(format!("{name} has {} hints to deliver", report.hints))
            }
            Some(_) => None,
            None if self.losses.given_up.contains(&member.id) => None,
            None => Some(format!(
                "{name} does not answer: it may have hints to deliver"
            )),
        }
    }

    fn kind(&self) -> Kind {
        let target = &self.target;
        let drains = |name: &String| {
            let node = self.observed.nodes.get(name);
            node.is_some_and(|node| node.drain)
        };
        if target.displaces || !target.end.gone.is_empty() {
            Kind::Replace
        } else if target.replication_factor != self.ring.replication_factor() {
            Kind::ChangeReplicationFactor
        } else if !target.leaving.is_empty() {
            Kind::ScaleIn
        } else if !target.joining.is_empty() || !target.awaited.is_empty() {
            Kind::ScaleOut
        } else if self.desired.nodes.keys().any(drains) {
            Kind::Drain
        } else {
            Kind::Rebalance
        }
    }
}

fn capacity(seat: &Seat) -> Capacity {
    Capacity(NonZeroU32::new(seat.capacity).unwrap_or(NonZeroU32::MIN))
}
