//! What is told of a node, and how two tellings become one: pure.
//!
//! A node's own statements carry its generation (its restart count) and a heartbeat (how much it has
//! said since). Verdicts on it carry the generation and how many suspicions it had contradicted by then,
//! so that a later contradiction outranks an earlier verdict, whoever hears of them in which order.
//!
//! Invariant: joining is idempotent, commutative and associative; so it does not matter how often, in
//! which order and by which way a rumor comes (tests: `rumor` laws).

use annulus_ring::NodeId;

use super::facts::NodeFacts;
use super::view::Liveness;

/// Accusers that a rumor names at most: more make no difference to how long a suspicion lasts.
pub(super) const MAX_ACCUSERS: usize = 4;

/// Stands for a node that accuses: a fold of its identity, since accusers need only be told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Accuser(pub(super) u32);

impl Accuser {
    pub(super) fn of(node: NodeId) -> Self {
        let (high, low) = node.0.as_u64_pair();
        let folded = high ^ low.rotate_left(7);
        let word = (folded ^ (folded >> 32)) & u64::from(u32::MAX);
        let word = u32::try_from(word).expect("the upper half is masked out");
        Self(word.max(1)) // 0 stands for nobody
    }
}

/// Who accuses: the smallest ones, ascending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Accusers([Accuser; MAX_ACCUSERS]);

impl Accusers {
    pub(super) fn one(accuser: Accuser) -> Self {
        let mut accusers = Self::default();
        accusers.add(accuser);
        accusers
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Accuser> {
        self.0.into_iter().filter(|accuser| accuser.0 != 0)
    }

    pub(super) fn count(self) -> usize {
        self.iter().count()
    }

    /// Whether that changed anything.
    pub(super) fn add(&mut self, accuser: Accuser) -> bool {
        if accuser.0 == 0 || self.0.contains(&accuser) {
            return false;
        }
        let place = self
            .0
            .iter()
            .position(|held| held.0 == 0 || accuser < *held);
        let Some(place) = place else {
            return false;
        };
        self.0[place..].rotate_right(1);
        self.0[place] = accuser;
        true
    }

    fn join(&mut self, other: Self) -> bool {
        let mut changed = false;
        for accuser in other.iter() {
            changed |= self.add(accuser);
        }
        changed
    }
}

/// The verdict on a node within one generation. The larger one holds: a contradiction outranks what it
/// contradicts, and without one things only get worse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    /// How many suspicions the node has contradicted.
    pub(super) refutations: u32,
    /// What is believed of it since.
    pub(super) liveness: Liveness,
}

/// All that is told of one node. As a default: nothing, so it counts as alive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The node's restart count.
    pub(super) generation: u64,
    /// How much the node has said since it started; 0: nothing that came here.
    pub(super) heartbeat: u64,
    /// What it said last. Means nothing while the heartbeat is 0.
    pub(super) facts: NodeFacts,
    /// The verdict on it.
    pub(super) standing: Standing,
    /// Who accuses it, while it is suspect.
    pub(super) accusers: Accusers,
}

/// One telling of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rumor {
    pub(super) node: NodeId,
    pub(super) told: Told,
}

impl Rumor {
    /// What the node says of itself here, if this is about it.
    pub(super) fn said_by(&self, node: NodeId) -> Option<NodeFacts> {
        (self.node == node && self.told.heartbeat > 0).then_some(self.told.facts)
    }
}

/// What a join changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// The generation, the standing or the accusers.
    pub(super) standing: bool,
    /// What the node says of itself.
    pub(super) facts: bool,
}

impl Told {
    /// Takes over what the other one knows better.
    pub(super) fn join(&mut self, other: &Self) -> Changed {
        if other.generation < self.generation {
            return Changed::default();
        }
        if other.generation > self.generation {
            *self = *other;
            return Changed {
                standing: true,
                facts: true,
            };
        }
        let facts = other.heartbeat > self.heartbeat;
        if facts {
            (self.heartbeat, self.facts) = (other.heartbeat, other.facts);
        }
        let standing = match other.standing.cmp(&self.standing) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => self.accusers.join(other.accusers),
            std::cmp::Ordering::Greater => {
                (self.standing, self.accusers) = (other.standing, other.accusers);
                true
            }
        };
        Changed { standing, facts }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop, prop_assert_eq, proptest};

    use super::*;

    fn told() -> impl Strategy<Value = Told> {
        let liveness =
            prop::sample::select(vec![Liveness::Alive, Liveness::Suspect, Liveness::Down]);
        let accusers = prop::collection::vec(1..7_u32, 0..5);
        (0..3_u64, 0..3_u64, 0..3_u32, liveness, accusers).prop_map(
            |(generation, heartbeat, refutations, liveness, named)| {
                let mut accusers = Accusers::default();
                for accuser in named {
                    accusers.add(Accuser(accuser));
                }
                Told {
                    generation,
                    heartbeat,
                    // A node says one thing with one heartbeat.
                    facts: NodeFacts {
                        generation,
                        requests_in_flight: u32::try_from(heartbeat).unwrap(),
                        ..NodeFacts::default()
                    },
                    standing: Standing {
                        refutations,
                        liveness,
                    },
                    accusers,
                }
            },
        )
    }

    fn joined(mut one: Told, other: &Told) -> Told {
        one.join(other);
        one
    }

    proptest! {
        #[test]
        fn joining_is_idempotent_commutative_and_associative(a in told(), b in told(), c in told()) {
            prop_assert_eq!(joined(a, &a), a);
            prop_assert_eq!(joined(a, &b), joined(b, &a));
            prop_assert_eq!(joined(joined(a, &b), &c), joined(a, &joined(b, &c)));
        }

        #[test]
        fn a_join_says_whether_it_changed_anything(a in told(), b in told()) {
            let mut after = a;
            let changed = after.join(&b);
            prop_assert_eq!(changed != Changed::default(), after != a);
        }
    }

    #[test]
    fn a_contradiction_outranks_the_verdict_and_a_restart_outranks_both() {
        let down = |generation, refutations| Told {
            generation,
            standing: Standing {
                refutations,
                liveness: Liveness::Down,
            },
            ..Told::default()
        };
        let alive = |generation, refutations| Told {
            standing: Standing {
                refutations,
                liveness: Liveness::Alive,
            },
            ..down(generation, refutations)
        };
        let liveness = |told: Told| told.standing.liveness;
        assert_eq!(liveness(joined(alive(1, 0), &down(1, 0))), Liveness::Down);
        assert_eq!(liveness(joined(down(1, 0), &alive(1, 1))), Liveness::Alive);
        assert_eq!(liveness(joined(down(1, 7), &alive(2, 0))), Liveness::Alive);
        assert_eq!(liveness(joined(alive(2, 0), &down(1, 7))), Liveness::Alive);
    }
}
