//! How many vnodes each node should have.
//!
//! The exact shares are a water-filling: all nodes have the same number of vnodes per unit of
//! capacity (the level), but no node more than Q, and no zone less than `least` or more than
//! `most` times Q; what a full node cannot take the others take. It is computed in fractions
//! of integers. Each share is then rounded down or up, so every node is within one vnode of
//! its exact share and nodes with equal shares differ by at most one.
//!
//! Who is rounded up is where movement is saved: those who hold more already go first.

use std::cmp::{Ordering, Reverse};

use crate::layout::{Layout, ZoneLayout};

/// A fraction: vnodes per unit of capacity, or part of a vnode. The largest product formed
/// from two of them is N * Q * 1024 nodes * capacity squared, below 2^96.
#[derive(Clone, Copy, Debug)]
struct Fraction {
    over: u128,
    under: u128,
}

impl Fraction {
    fn compare(&self, other: &Self) -> Ordering {
        (self.over * other.under).cmp(&(other.over * self.under))
    }
}

/// By node: how many vnodes it should have, given how many it `held` until now. The sum is
/// N * Q. Draining nodes have none.
pub(crate) fn targets(layout: &Layout, held: &[usize]) -> Vec<usize> {
    let mut targets = vec![0; held.len()];
    let mut fractions: Vec<Option<Fraction>> = vec![None; held.len()];
    for (zone, level) in layout.zones.iter().zip(zone_levels(layout)) {
        for &member in &zone.members {
            let over = level.over * u128::from(layout.capacity[member]);
            let (whole, rest) = (over / level.under, over % level.under);
            targets[member] = usize::try_from(whole)
                .map_or(layout.partitions, |whole| whole.min(layout.partitions));
            if rest > 0 && targets[member] < layout.partitions {
                fractions[member] = Some(Fraction {
                    over: rest,
                    under: level.under,
                });
            }
        }
    }
    round_up_some(layout, held, &fractions, &mut targets);
    targets
}

/// The level of each zone: the common one, or the zone's own where its bounds hold it back.
fn zone_levels(layout: &Layout) -> Vec<Fraction> {
    let zones: Vec<Weights> = layout
        .zones
        .iter()
        .map(|zone| Weights::new(layout, zone))
        .collect();
    let wanted = (layout.partitions * layout.replicas) as u128;
    let mut bends: Vec<Fraction> = zones.iter().flat_map(Weights::bends).collect();
    bends.sort_by(Fraction::compare);
    // All bounds are met with room to spare at the last bend, so there is a first one.
    let total = |level: Fraction| zones.iter().map(|zone| zone.bounded(level)).sum::<u128>();
    let above = bends.partition_point(|level| total(*level) < wanted * level.under);
    let high = bends[above];
    let low = above
        .checked_sub(1)
        .map_or(Fraction { over: 0, under: 1 }, |at| bends[at]);

    // Between two bends the total is a straight line: full nodes and bounded zones are
    // constant, the others share the rest.
    let (mut rest, mut weight) = (wanted, 0);
    for zone in &zones {
        match zone.bound_between(low, high) {
            Some(bound) => rest -= bound,
            None => {
                for &capacity in &zone.descending {
                    if low.over * capacity >= zone.q * low.under {
                        rest -= zone.q;
                    } else {
                        weight += capacity;
                    }
                }
            }
        }
    }
    let common = Fraction {
        over: rest,
        under: weight.max(1),
    };
    let level = |zone: &Weights| match zone.bound_between(low, high) {
        Some(bound) => zone.level_for(bound),
        None => common,
    };
    zones.iter().map(level).collect()
}

/// The capacities of one zone, and its bounds in vnodes.
struct Weights {
    q: u128,
    descending: Vec<u128>,
    least: u128,
    most: u128,
}

impl Weights {
    fn new(layout: &Layout, zone: &ZoneLayout) -> Self {
        let mut descending: Vec<u128> = zone
            .members
            .iter()
            .map(|member| u128::from(layout.capacity[*member]))
            .collect();
        descending.sort_unstable_by_key(|capacity| Reverse(*capacity));
        let q = layout.partitions as u128;
        Self {
            q,
            descending,
            least: zone.least as u128 * q,
            most: zone.most as u128 * q,
        }
    }

    /// The levels at which the zone's amount changes its slope.
    fn bends(&self) -> Vec<Fraction> {
        let full = self.descending.iter().map(|capacity| Fraction {
            over: self.q,
            under: *capacity,
        });
        full.chain([self.level_for(self.least), self.level_for(self.most)])
            .collect()
    }

    /// Vnodes at a level, times `level.under`, without the zone's bounds.
    fn amount(&self, level: Fraction) -> u128 {
        let full = self.q * level.under;
        self.descending
            .iter()
            .map(|capacity| full.min(level.over * capacity))
            .sum()
    }

    /// The same within the zone's bounds.
    fn bounded(&self, level: Fraction) -> u128 {
        self.amount(level)
            .clamp(self.least * level.under, self.most * level.under)
    }

    /// The bound that the zone is at in the whole of an interval without bends.
    fn bound_between(&self, low: Fraction, high: Fraction) -> Option<u128> {
        if self.amount(high) <= self.least * high.under {
            Some(self.least)
        } else if self.amount(low) >= self.most * low.under {
            Some(self.most)
        } else {
            None
        }
    }

    /// The lowest level at which the zone has `vnodes`, at most Q for each member.
    fn level_for(&self, vnodes: u128) -> Fraction {
        let mut rest = vnodes;
        let mut weight: u128 = self.descending.iter().sum();
        for &capacity in &self.descending {
            if rest * capacity <= self.q * weight {
                break;
            }
            rest -= self.q;
            weight -= capacity;
        }
        Fraction {
            over: rest,
            under: weight.max(1),
        }
    }
}

/// Adds one vnode to as many nodes with a fraction as the sum needs, within zone bounds.
fn round_up_some(
    layout: &Layout,
    held: &[usize],
    fractions: &[Option<Fraction>],
    targets: &mut [usize],
) {
    let mut order: Vec<(usize, Fraction)> = fractions
        .iter()
        .enumerate()
        .filter_map(|(at, part)| part.map(|part| (at, part)))
        .collect();
    let lead = |at: usize| held[at].cast_signed() - targets[at].cast_signed();
    order.sort_by(|(a, part_a), (b, part_b)| {
        lead(*b)
            .cmp(&lead(*a))
            .then_with(|| part_b.compare(part_a))
            .then(a.cmp(b))
    });
    let q = layout.partitions;
    let mut sums: Vec<usize> = layout
        .zones
        .iter()
        .map(|zone| zone.members.iter().map(|member| targets[*member]).sum())
        .collect();
    let mut missing = q * layout.replicas - sums.iter().sum::<usize>();
    let mut raised = vec![false; targets.len()];
    // First what zones need to reach their least, then whoever comes first.
    for least_first in [true, false] {
        for (at, _) in &order {
            let Some(zone) = layout.zone_of[*at].filter(|_| missing > 0 && !raised[*at]) else {
                continue;
            };
            let bounds = &layout.zones[zone];
            let limit = if least_first {
                bounds.least
            } else {
                bounds.most
            };
            if sums[zone] < limit * q {
                raised[*at] = true;
                targets[*at] += 1;
                sums[zone] += 1;
                missing -= 1;
            }
        }
    }
    debug_assert_eq!(missing, 0, "rounded shares add up to N for each partition");
}
