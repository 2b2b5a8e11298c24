//! Which faults come when: drawn from the seed before anything runs. Pure.
//!
//! A run is a sequence of [`Segment`]s. Faults overlap inside one; each ends with it. Between two segments all
//! is healed, and a disk that was damaged is replaced and filled again.
//!
//! Invariants: a node has one fault of its process or disk at a time; a segment damages one disk at most, so
//! never more than one copy of a key is lost at once; every kind comes once before any comes again.

use std::time::Duration;

use crate::chance::Chance;
use crate::fault::{Fault, Kind, NodeOrdinal};

/// A fault with its time, from the segment's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// When it begins.
    pub at: Duration,
    /// When it ends.
    pub until: Duration,
    /// What.
    pub fault: Fault,
}

/// Faults between two healings, by the time that they begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// How long it lasts.
    pub lasts: Duration,
    /// Its faults; all end before it does.
    pub faults: Vec<Planned>,
}

/// Faults of one segment at most.
const FAULTS_A_SEGMENT: usize = 6;

/// Shortest and longest fault, in milliseconds.
const FAULT_MS: std::ops::Range<u64> = 1_500..6_000;

/// Shortest and longest time between the beginnings of two faults, in milliseconds.
const APART_MS: std::ops::Range<u64> = 300..3_000;

/// A node whose process was down is left in peace so long, in milliseconds.
const RECOVERY_MS: u64 = 2_000;

/// The furthest that a wall clock jumps, in milliseconds. Two clocks are then further apart than the nodes
/// tolerate (500 ms), but none is further off the true time.
pub const CLOCK_STEP_MS: i64 = 300;

/// The furthest that one leaps, in milliseconds.
pub const CLOCK_LEAP_MS: i64 = 10_000;

/// Draws segments, one after another.
#[derive(Debug)]
pub struct Planner {
    chance: Chance,
    nodes: usize,
    kinds: Vec<Kind>,
    deck: Vec<Kind>,
}

impl Planner {
    /// Draws from these kinds for so many nodes.
    pub fn new(seed: u64, nodes: usize, kinds: &[Kind]) -> Self {
        Self {
            chance: Chance::new(seed, "plan"),
            nodes,
            kinds: kinds.to_vec(),
            deck: Vec::new(),
        }
    }

    /// The next segment, no longer than `most` (if faults of the shortest length fit).
    pub fn segment(&mut self, most: Duration) -> Segment {
        let mut drawn = Draft::new(self.nodes);
        let mut at_ms = 500;
        let mut put_back = Vec::new();
        while drawn.faults.len() < FAULTS_A_SEGMENT && put_back.len() < self.kinds.len() {
            let Some(kind) = self.next_kind(&put_back) else {
                break;
            };
            let lasts = self.chance.within(FAULT_MS);
            let until_ms = at_ms + lasts;
            if u128::from(until_ms) > most.as_millis() && !drawn.faults.is_empty() {
                put_back.push(kind);
                break;
            }
            match drawn.place(kind, (at_ms, until_ms), &mut self.chance) {
                Some(fault) => {
                    drawn.faults.push(Planned {
                        at: Duration::from_millis(at_ms),
                        until: Duration::from_millis(until_ms),
                        fault,
                    });
                    at_ms += self.chance.within(APART_MS);
                }
                None => put_back.push(kind),
            }
        }
        self.deck.extend(put_back.into_iter().rev());
        let ends = drawn.faults.iter().map(|planned| planned.until).max();
        Segment {
            lasts: ends.unwrap_or_default() + Duration::from_millis(500),
            faults: drawn.faults,
        }
    }

    /// The next card of the deck. A new deck is not begun while cards of the old one wait.
    fn next_kind(&mut self, waiting: &[Kind]) -> Option<Kind> {
        if self.deck.is_empty() && waiting.is_empty() {
            self.deck = self.kinds.clone();
            self.chance.shuffle(&mut self.deck);
        }
        self.deck.pop()
    }
}

/// A segment while it is drawn.
struct Draft {
    nodes: usize,
    faults: Vec<Planned>,
}

impl Draft {
    fn new(nodes: usize) -> Self {
        Self {
            nodes,
            faults: Vec::new(),
        }
    }

    /// Whether the node's process is in nobody's hands in that time (milliseconds).
    fn is_free(&self, node: NodeOrdinal, (from, until): (u64, u64)) -> bool {
        self.faults.iter().all(|planned| {
            let fault = &planned.fault;
            // A damaged disk stays so until the segment ends.
            let ends = if fault.kind.destroys() {
                u128::MAX
            } else {
                planned.until.as_millis() + u128::from(RECOVERY_MS)
            };
            let begins = planned.at.as_millis();
            let meets = begins < u128::from(until + RECOVERY_MS) && u128::from(from) < ends;
            !(meets && fault.kind.holds_process() && fault.nodes.contains(&node))
        })
    }

    /// A fault of that kind at that time; none if there is no place for it.
    fn place(&self, kind: Kind, time: (u64, u64), chance: &mut Chance) -> Option<Fault> {
        let damaged = self
            .faults
            .iter()
            .any(|planned| planned.fault.kind.destroys());
        let time = match kind {
            _ if !kind.destroys() => time,
            _ if damaged => return None,
            _ => (time.0, u64::MAX / 2),
        };
        let mut nodes: Vec<NodeOrdinal> = (0..self.nodes).collect();
        chance.shuffle(&mut nodes);
        let nodes = match kind {
            Kind::KillAll => {
                nodes.sort_unstable();
                let all_free = nodes.iter().all(|node| self.is_free(*node, time));
                all_free.then_some(nodes)?
            }
            Kind::Split => {
                let one_side = 1 + chance.index(self.nodes - 1);
                nodes.truncate(one_side);
                nodes.sort_unstable();
                nodes
            }
            _ if kind.holds_process() => {
                let free = |node: &NodeOrdinal| self.is_free(*node, time);
                vec![nodes.into_iter().find(free)?]
            }
            _ => nodes[..1].to_vec(),
        };
        let direction = if chance.hits(500) { 1 } else { -1 };
        let mut ms = |least, most| {
            let drawn = chance.within(least..most + 1);
            direction * i64::try_from(drawn).expect("a few thousand")
        };
        let measure = match kind {
            Kind::ClockStep => ms(50, CLOCK_STEP_MS.unsigned_abs()),
            Kind::ClockLeap => ms(2_000, CLOCK_LEAP_MS.unsigned_abs()),
            Kind::Loss => [5, 20, 50][chance.index(3)],
            Kind::FullDisk => [0, 3][chance.index(2)],
            Kind::OneWay => [0, 1][chance.index(2)],
            _ => 0,
        };
        Some(Fault {
            kind,
            nodes,
            measure,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const MOST: Duration = Duration::from_secs(20);

    fn segments(seed: u64, nodes: usize, count: usize) -> Vec<Segment> {
        let mut planner = Planner::new(seed, nodes, &Kind::USUAL);
        (0..count).map(|_| planner.segment(MOST)).collect()
    }

    #[test]
    fn a_seed_decides_everything() {
        assert_eq!(segments(7, 5, 10), segments(7, 5, 10));
        assert_ne!(segments(7, 5, 10), segments(8, 5, 10));
    }

    proptest! {
        #[test]
        fn every_kind_comes_within_a_few_segments(seed: u64, nodes in 3_usize..8) {
            let kinds: BTreeSet<Kind> = segments(seed, nodes, 6)
                .iter()
                .flat_map(|segment| segment.faults.iter().map(|planned| planned.fault.kind))
                .collect();
            prop_assert_eq!(kinds.len(), Kind::USUAL.len());
        }

        #[test]
        fn a_segment_damages_one_disk_and_lets_that_node_be(seed: u64, nodes in 3_usize..8) {
            for segment in segments(seed, nodes, 8) {
                let damages: Vec<_> = segment.faults.iter().filter(|p| p.fault.kind.destroys()).collect();
                prop_assert!(damages.len() <= 1);
                for damage in damages {
                    let later = segment.faults.iter().filter(|other| {
                        other.at > damage.at
                            && other.fault.kind.holds_process()
                            && other.fault.nodes.contains(&damage.fault.nodes[0])
                    });
                    prop_assert_eq!(later.count(), 0);
                }
            }
        }

        #[test]
        fn a_node_s_process_has_one_fault_at_a_time(seed: u64, nodes in 3_usize..8) {
            for segment in segments(seed, nodes, 8) {
                for node in 0..nodes {
                    let mut times: Vec<_> = segment
                        .faults
                        .iter()
                        .filter(|p| p.fault.kind.holds_process() && p.fault.nodes.contains(&node))
                        .map(|p| (p.at, p.until))
                        .collect();
                    times.sort();
                    prop_assert!(times.windows(2).all(|pair| pair[0].1 < pair[1].0));
                }
                prop_assert!(segment.faults.iter().all(|p| p.at < p.until && p.until < segment.lasts));
                prop_assert!(segment.lasts <= MOST + Duration::from_millis(500));
            }
        }

        #[test]
        fn a_split_has_two_sides(seed: u64, nodes in 3_usize..8) {
            for segment in segments(seed, nodes, 8) {
                for planned in segment.faults.iter().filter(|p| p.fault.kind == Kind::Split) {
                    prop_assert!((1..nodes).contains(&planned.fault.nodes.len()));
                }
            }
        }
    }

    #[test]
    fn clocks_stay_within_the_bound() {
        for segment in segments(3, 5, 50) {
            let steps = segment
                .faults
                .iter()
                .filter(|p| p.fault.kind == Kind::ClockStep);
            assert!(
                steps
                    .into_iter()
                    .all(|p| p.fault.measure.abs() <= CLOCK_STEP_MS)
            );
        }
    }
}
