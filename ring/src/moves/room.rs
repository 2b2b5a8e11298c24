//! What may begin beside what is under way.

use std::collections::{BTreeMap, BTreeSet};

use super::change::PlannedMove;
use super::limits::MoveLimits;
use crate::node::NodeId;
use crate::partition::PartitionId;
use crate::placement::{MAX_MOVES, Placement};

/// The moves that count, by what bounds them.
pub(crate) struct Room {
    limits: MoveLimits,
    moving: BTreeSet<PartitionId>,
    /// Moves that can be called off.
    open: usize,
    into: BTreeMap<NodeId, usize>,
    out_of: BTreeMap<NodeId, usize>,
}

impl Room {
    pub(crate) fn new(placement: &Placement, limits: MoveLimits) -> Self {
        let mut room = Self {
            limits,
            moving: BTreeSet::new(),
            open: 0,
            into: BTreeMap::new(),
            out_of: BTreeMap::new(),
        };
        for it in placement.moves() {
            room.moving.insert(it.partition());
            if it.stage.can_be_cancelled() {
                let id = |node| placement.node(node).id;
                let planned = PlannedMove {
                    partition: it.partition(),
                    add: it.add.map(id),
                    remove: it.remove.map(id),
                    lost: it.lost,
                };
                room.take(placement, &planned);
            }
        }
        room
    }

    /// Who may be copied from: the leaver, or, if it is lost or there is none, all others.
    fn sources(placement: &Placement, it: &PlannedMove) -> Vec<NodeId> {
        if let Some(leaver) = it.remove.filter(|_| !it.lost) {
            return vec![leaver];
        }
        let owners = placement.old_owners(it.partition);
        let ids = owners.iter().map(|owner| placement.node(owner).id);
        ids.filter(|id| Some(*id) != it.remove).collect()
    }

    pub(crate) fn admits(&self, placement: &Placement, it: &PlannedMove) -> bool {
        let full = |count: &BTreeMap<NodeId, usize>, node: &NodeId| {
            count.get(node).copied().unwrap_or(0) >= self.limits.per_node
        };
        !self.moving.contains(&it.partition)
            && self.moving.len() < MAX_MOVES
            && self.open < self.limits.overall
            && !it.add.is_some_and(|add| full(&self.into, &add))
            && !Self::sources(placement, it)
                .iter()
                .any(|source| full(&self.out_of, source))
    }

    pub(crate) fn take(&mut self, placement: &Placement, it: &PlannedMove) {
        self.moving.insert(it.partition);
        self.open += 1;
        if let Some(add) = it.add {
            *self.into.entry(add).or_default() += 1;
        }
        for source in Self::sources(placement, it) {
            *self.out_of.entry(source).or_default() += 1;
        }
    }
}
