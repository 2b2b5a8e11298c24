//! What this node was told of each other member: pure.
//!
//! Invariant: the members are those that [`Members::set`] was given, whatever is told of others.

use std::time::Duration;

use annulus_ring::NodeId;

use super::rumor::{Changed, Rumor, Told};
use super::view::Liveness;

/// A member's place in the table. Means nothing once the members change.
pub(super) type Place = usize;

/// One other member.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) id: NodeId,
    pub(super) told: Told,
    /// Since when it is suspect here; for as long as it is.
    pub(super) suspect_since: Option<Duration>,
    /// When it last answered or asked.
    pub(super) heard: Option<Duration>,
}

/// All other members, ascending by id.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    list: Vec<Member>,
    suspects: usize,
}

impl Members {
    /// Takes these for the members; what is known of those that stay is kept.
    pub(super) fn set(&mut self, mut ids: Vec<NodeId>) {
        ids.sort_unstable();
        ids.dedup();
        let known = std::mem::take(&mut self.list);
        let find = |id: NodeId| {
            let place = known.binary_search_by_key(&id, |member| member.id).ok()?;
            Some(known[place].clone())
        };
        let fresh = |id| Member {
            id,
            told: Told::default(),
            suspect_since: None,
            heard: None,
        };
        self.list = ids
            .into_iter()
            .map(|id| find(id).unwrap_or_else(|| fresh(id)))
            .collect();
        self.suspects = self
            .list
            .iter()
            .filter(|member| member.is_suspect())
            .count();
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn place_of(&self, id: NodeId) -> Option<Place> {
        self.list.binary_search_by_key(&id, |member| member.id).ok()
    }

    pub(super) fn get(&self, place: Place) -> &Member {
        &self.list[place]
    }

    pub(super) fn rumor(&self, place: Place) -> Rumor {
        let member = &self.list[place];
        Rumor {
            node: member.id,
            told: member.told,
        }
    }

    pub(super) fn heard(&mut self, place: Place, now: Duration) {
        self.list[place].heard = Some(now);
    }

    /// Takes over what a telling knows better. The clock of a suspicion starts when it gets here.
    pub(super) fn join(&mut self, place: Place, told: &Told, now: Duration) -> Changed {
        let member = &mut self.list[place];
        let before = member.told;
        let changed = member.told.join(told);
        if changed.standing {
            let is_new = (before.generation, before.standing)
                != (member.told.generation, member.told.standing);
            self.suspects -= usize::from(member.suspect_since.is_some());
            member.suspect_since = match member.suspect_since {
                _ if !member.is_suspect() => None,
                // One more accuser. A suspicion after a contradiction is another suspicion.
                Some(since) if !is_new => Some(since),
                _ => Some(now),
            };
            self.suspects += usize::from(member.suspect_since.is_some());
        }
        changed
    }

    /// The members that are suspect.
    pub(super) fn suspects(&self) -> impl Iterator<Item = Place> + '_ {
        let some = if self.suspects == 0 {
            0
        } else {
            self.list.len()
        };
        (0..some).filter(|place| self.list[*place].is_suspect())
    }

    /// Time that this node slept through counts for no suspicion.
    pub(super) fn forgive(&mut self, slept: Duration) {
        for since in self
            .list
            .iter_mut()
            .filter_map(|member| member.suspect_since.as_mut())
        {
            *since += slept;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.list.iter()
    }
}

impl Member {
    pub(super) fn liveness(&self) -> Liveness {
        self.told.standing.liveness
    }

    fn is_suspect(&self) -> bool {
        self.liveness() == Liveness::Suspect
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::membership::rumor::{Accuser, Accusers, Standing};

    fn suspect(refutations: u32, accuser: u32) -> Told {
        Told {
            generation: 1,
            standing: Standing {
                refutations,
                liveness: Liveness::Suspect,
            },
            accusers: Accusers::one(Accuser(accuser)),
            ..Told::default()
        }
    }

    #[test]
    fn a_suspicion_after_a_contradiction_begins_anew_and_one_more_accuser_changes_no_clock() {
        let mut members = Members::default();
        members.set(vec![NodeId(Uuid::from_u128(7))]);
        let at = Duration::from_secs;
        members.join(0, &suspect(0, 1), at(1));
        members.join(0, &suspect(0, 2), at(2));
        assert_eq!(members.get(0).suspect_since, Some(at(1)));
        // The contradiction itself was not heard of here.
        members.join(0, &suspect(1, 1), at(3));
        assert_eq!(members.get(0).suspect_since, Some(at(3)));
        assert_eq!(members.get(0).told.accusers.count(), 1);
        assert_eq!(members.suspects().count(), 1);
    }

    #[test]
    fn who_stays_a_member_keeps_what_is_known_of_it() {
        let id = |number| NodeId(Uuid::from_u128(number));
        let mut members = Members::default();
        members.set(vec![id(1), id(2)]);
        members.join(1, &suspect(0, 1), Duration::ZERO);
        members.set(vec![id(3), id(2), id(2)]);
        assert_eq!(members.len(), 2);
        assert_eq!(members.place_of(id(1)), None);
        assert_eq!(members.suspects().collect::<Vec<_>>(), [0]);
    }
}
