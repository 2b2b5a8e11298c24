//! What people want the ring to be, and how they change their minds.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use annulus_node::simulation::{Chance, id_of, member};
use annulus_ring::{Capacity, MoveId, Node, NodeId, NodeState, Placement, ReplicationFactor, Zone};

/// Zones that nodes may be in.
const ZONES: u64 = 3;

/// What a member is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seat {
    capacity: u32,
    zone: u64,
    is_drained: bool,
}

impl Seat {
    const USUAL: Self = Self {
        capacity: 1,
        zone: 0,
        is_drained: false,
    };

    fn node(self, number: u16) -> Node {
        let weight = NonZeroU32::new(self.capacity).expect("one or more");
        let state = if self.is_drained {
            NodeState::Draining
        } else {
            NodeState::Active
        };
        let usual = member(number);
        let zone = match self.zone {
            0 => usual.zone.clone(),
            other => Zone(format!("zone-{other}")),
        };
        Node {
            capacity: Capacity(weight),
            zone,
            state,
            ..usual
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    /// All nodes there are, by number.
    nodes: u16,
    seats: BTreeMap<u16, Seat>,
    factor: u8,
    usual_factor: u8,
    /// As it was before the last change.
    before: Option<(BTreeMap<u16, Seat>, u8)>,
    /// Nodes that are gone for good, with their disks.
    destroyed: BTreeSet<NodeId>,
    /// Moves that somebody wants called off.
    cancelled: BTreeSet<MoveId>,
}

impl Wishes {
    /// The first nodes, as they are.
    pub(crate) fn of(members: u16, spares: u16, factor: u16) -> Self {
        let factor = u8::try_from(factor.min(members)).expect("a few");
        Self {
            nodes: members + spares,
            seats: (1..=members).map(|number| (number, Seat::USUAL)).collect(),
            factor,
            usual_factor: factor,
            before: None,
            destroyed: BTreeSet::new(),
            cancelled: BTreeSet::new(),
        }
    }

    /// The members to be.
    pub(crate) fn members(&self) -> Vec<Node> {
        let seats = self.seats.iter();
        seats.map(|(number, seat)| seat.node(*number)).collect()
    }

    pub(crate) fn factor(&self) -> ReplicationFactor {
        ReplicationFactor::new(self.factor).expect("a few")
    }

    pub(crate) fn destroyed(&self) -> &BTreeSet<NodeId> {
        &self.destroyed
    }

    /// The moves to call off, of those that there are.
    pub(crate) fn cancelled(&self, ring: &Placement) -> BTreeSet<MoveId> {
        let moves = ring.moves().iter().map(|it| it.id);
        moves.filter(|id| self.cancelled.contains(id)).collect()
    }

    /// Nodes that are there, and are not to be members.
    fn spares(&self) -> Vec<u16> {
        let all = 1..=self.nodes;
        let is_spare = |number: &u16| {
            !self.seats.contains_key(number) && !self.destroyed.contains(&id_of(*number))
        };
        all.filter(is_spare).collect()
    }

    /// Members that are to have vnodes.
    fn active(&self) -> Vec<u16> {
        let seats = self.seats.iter();
        seats
            .filter(|(_, seat)| !seat.is_drained)
            .map(|(number, _)| *number)
            .collect()
    }

    /// Whether one member can be done without.
    fn has_one_too_many(&self) -> bool {
        self.active().len() > usize::from(self.factor)
    }

    /// Whether a node may be destroyed: the others, with those that are spare, are enough.
    pub(crate) fn can_replace(&self, node: NodeId) -> bool {
        let spares = self.spares();
        let others = self.active().into_iter().filter(|one| id_of(*one) != node);
        let left = others.count() + spares.len();
        !self.destroyed.contains(&node)
            && left >= usize::from(self.factor)
            && self.destroyed.is_empty()
    }

    /// A node is gone, with its disk: another one takes its place, if there is one.
    pub(crate) fn replace(&mut self, node: NodeId, chance: &Chance) {
        self.destroyed.insert(node);
        let number = (1..=self.nodes).find(|number| id_of(*number) == node);
        let seat = number.and_then(|number| self.seats.remove(&number));
        self.before = None;
        let spares = self.spares();
        if !spares.is_empty() && (seat.is_some() || self.active().len() < usize::from(self.factor))
        {
            let seat = seat.unwrap_or(Seat::USUAL);
            self.seats.insert(spares[chance.index(spares.len())], seat);
        }
        while self.active().len() < usize::from(self.factor) {
            let drained = self.seats.values_mut().find(|seat| seat.is_drained);
            match drained {
                Some(seat) => seat.is_drained = false,
                None => break,
            }
        }
    }

    /// The first change of a run, by which something moves for certain.
    pub(crate) fn begin(&mut self, chance: &Chance) -> String {
        self.join(chance)
            .or_else(|| self.leave(chance))
            .unwrap_or_else(|| "nothing can change".to_owned())
    }

    /// Somebody wants something else; what.
    pub(crate) fn change(&mut self, chance: &Chance, ring: &Placement) -> Option<String> {
        match chance.within(0..100) {
            0..30 => self.join(chance),
            30..55 => self.leave(chance),
            55..67 => self.drain(chance),
            67..77 => self.undo(),
            77..84 => self.resize(chance),
            84..89 => self.rezone(chance),
            89..94 => self.change_factor(),
            _ => self.cancel(chance, ring),
        }
    }

    fn keep(&mut self) {
        self.before = Some((self.seats.clone(), self.factor));
    }

    fn join(&mut self, chance: &Chance) -> Option<String> {
        let spares = self.spares();
        if spares.is_empty() {
            return None;
        }
        self.keep();
        let number = spares[chance.index(spares.len())];
        self.seats.insert(number, Seat::USUAL);
        Some(format!("n{number} is to join"))
    }

    fn leave(&mut self, chance: &Chance) -> Option<String> {
        if !self.has_one_too_many() {
            return None;
        }
        let active = self.active();
        self.keep();
        let number = active[chance.index(active.len())];
        self.seats.remove(&number);
        Some(format!("n{number} is to leave"))
    }

    fn drain(&mut self, chance: &Chance) -> Option<String> {
        let drained = self.seats.iter().find(|(_, seat)| seat.is_drained);
        let drained = drained.map(|(number, _)| *number);
        if drained.is_none() && !self.has_one_too_many() {
            return None;
        }
        let active = self.active();
        self.keep();
        let number = drained.unwrap_or_else(|| active[chance.index(active.len())]);
        let seat = self.seats.get_mut(&number)?;
        seat.is_drained = !seat.is_drained;
        Some(format!("n{number} is to be drained: {}", seat.is_drained))
    }

    fn undo(&mut self) -> Option<String> {
        let (seats, factor) = self.before.take()?;
        self.keep();
        (self.seats, self.factor) = (seats, factor);
        Some("as it was before".to_owned())
    }

    fn resize(&mut self, chance: &Chance) -> Option<String> {
        let active = self.active();
        let number = active[chance.index(active.len())];
        self.keep();
        let seat = self.seats.get_mut(&number)?;
        seat.capacity = u32::try_from(chance.within(1..4)).expect("small");
        Some(format!("n{number}'s weight is to be {}", seat.capacity))
    }

    fn rezone(&mut self, chance: &Chance) -> Option<String> {
        let active = self.active();
        let number = active[chance.index(active.len())];
        self.keep();
        let seat = self.seats.get_mut(&number)?;
        seat.zone = chance.within(0..ZONES);
        Some(format!("n{number} is in zone {}", seat.zone))
    }

    /// One copy less of everything, or as many as at first.
    fn change_factor(&mut self) -> Option<String> {
        let other = if self.factor == self.usual_factor {
            self.usual_factor - 1
        } else {
            self.usual_factor
        };
        if other < 2 || self.active().len() < usize::from(other) {
            return None;
        }
        self.keep();
        self.factor = other;
        Some(format!("there are to be {other} copies"))
    }

    fn cancel(&mut self, chance: &Chance, ring: &Placement) -> Option<String> {
        if ring.moves().is_empty() {
            return None;
        }
        let it = ring.moves()[chance.index(ring.moves().len())];
        self.cancelled.insert(it.id);
        Some(format!("{} is to be called off", it.id))
    }
}
