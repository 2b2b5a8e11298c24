//! Who owns what: from members and their capacities to owner lists.
//!
//! # Laws, in order of priority
//! 1. **Distinct nodes.** A node owns a partition at most once. A copy beside a copy of the
//!    same disk is none.
//! 2. **Distinct zones.** With at least N zones, N of them; with fewer, every zone, as evenly
//!    as the zones' sizes allow (`layout.rs`). A small zone's nodes therefore hold more than
//!    their capacity's share: losing a zone must never take a quorum that other zones could
//!    have kept.
//! 3. **Balance.** Within 1 and 2, every node is within one vnode of its share by capacity,
//!    and equal nodes within one vnode of each other (`share.rs`). Placement outlives the
//!    moves that led to it, so it is not bent to save some.
//! 4. **Few moves.** Within 1 to 3, few vnodes change hands (`reassignment.rs`). In a single
//!    zone, and with exactly N zones, an equal joiner takes its share and nothing else moves,
//!    and an equal leaver's vnodes fan out over those who may take them and nothing else moves.
//!
//! # What the higher laws cost in moves
//! - With exactly N zones each zone holds every partition once, so vnodes pass only within a
//!   zone: a joiner takes `Q / (nodes of its zone)`, not `Q * N / nodes`.
//! - With more than N zones a vnode can pass to a node of another zone only in a partition of
//!   which that zone has no copy. Zones of equal size with a dozen vnodes a node have enough
//!   of those. Unequal or thin ones may not (a zone that is in nearly all partitions is absent
//!   from few), and then further vnodes move to make room.
//! - When the number of zones changes and is at most N, law 2 asks for other spreads: a node
//!   that is the first of a new zone takes one copy of every partition.
//! - With hardly more nodes than N, or hardly any vnodes, two nodes may own nearly the same
//!   partitions; if one leaves, the other can take few of its vnodes.
//!
//! # From nothing
//! Partitions are dealt one by one: zones, then nodes are drawn with chances as their vnodes
//! left, by a fixed pseudo-random sequence, so that any two nodes share about equally many
//! partitions and a lost node's load fans out. Whoever must be in all partitions that are left
//! (as many vnodes left as partitions) is in. That is enough to never get stuck: as long as no
//! node has more left than partitions are left, and every zone's sum is within its bounds
//! times the partitions left, equal fractions of each would do, and a bipartite flow with
//! whole capacities that has a fractional solution has a whole one.

use xxhash_rust::xxh3::xxh3_64;

use crate::layout::Layout;
use crate::node::NodeIndex;

/// A fixed pseudo-random value for two numbers.
pub(crate) fn mix(a: usize, b: usize) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(a as u64).to_le_bytes());
    bytes[8..].copy_from_slice(&(b as u64).to_le_bytes());
    xxh3_64(&bytes)
}

/// Owner lists from nothing: N for each partition, each node as often as its target says.
pub(crate) fn deal(layout: &Layout, targets: &[usize]) -> Vec<NodeIndex> {
    let sum = |members: &[usize]| members.iter().map(|member| targets[*member]).sum();
    let mut dealer = Dealer {
        layout,
        left: targets.to_vec(),
        zone_left: layout.zones.iter().map(|zone| sum(&zone.members)).collect(),
        rows_left: layout.partitions,
        draws: 0,
    };
    let mut owners = Vec::with_capacity(layout.partitions * layout.replicas);
    for partition in 0..layout.partitions {
        let mut row = dealer.deal_row();
        // Zones were drawn in order: shuffle, so that everybody is first equally often.
        row.sort_unstable_by_key(|node| mix(partition, *node));
        owners.extend(row.into_iter().map(NodeIndex::from_at));
    }
    owners
}

struct Dealer<'a> {
    layout: &'a Layout,
    /// By node: vnodes still to get.
    left: Vec<usize>,
    /// By zone: the sum of its members'.
    zone_left: Vec<usize>,
    /// Partitions still to deal, the current one included.
    rows_left: usize,
    /// Pseudo-random numbers used.
    draws: usize,
}

impl Dealer<'_> {
    fn deal_row(&mut self) -> Vec<usize> {
        let layout = self.layout;
        let mut row = Vec::with_capacity(layout.replicas);
        for (zone, copies) in self.copies_by_zone().into_iter().enumerate() {
            if copies == 0 {
                continue;
            }
            let members = &layout.zones[zone].members;
            let chances = members.iter().map(|member| self.left[*member]).collect();
            for drawn in self.draw(chances, copies) {
                self.left[members[drawn]] -= 1;
                row.push(members[drawn]);
            }
            self.zone_left[zone] -= copies;
        }
        self.rows_left -= 1;
        row
    }

    /// How many copies of the current partition each zone gets.
    fn copies_by_zone(&mut self) -> Vec<usize> {
        let zones = &self.layout.zones;
        let mut copies: Vec<usize> = zones.iter().map(|zone| zone.least).collect();
        let more = self.layout.replicas - copies.iter().sum::<usize>();
        let beyond_least = |(zone, left): (_, &usize)| left - copies[zone] * self.rows_left;
        let chances = self
            .zone_left
            .iter()
            .enumerate()
            .map(beyond_least)
            .collect();
        for drawn in self.draw(chances, more) {
            copies[drawn] += 1;
        }
        copies
    }

    /// Draws `count` different positions: first those that are in all rows left, then by
    /// chance.
    fn draw(&mut self, mut chances: Vec<usize>, count: usize) -> Vec<usize> {
        let in_all = |(at, chance): (usize, &usize)| (*chance == self.rows_left).then_some(at);
        let mut drawn: Vec<usize> = chances.iter().enumerate().filter_map(in_all).collect();
        debug_assert!(
            drawn.len() <= count,
            "no more than {count} can be in all rows"
        );
        for at in &drawn {
            chances[*at] = 0;
        }
        let mut total: usize = chances.iter().sum();
        while drawn.len() < count {
            self.draws += 1;
            let mut ticket = usize::try_from(mix(self.draws, 0) % total as u64)
                .expect("below the total, a usize");
            let winner = chances.iter().position(|chance| {
                let won = ticket < *chance;
                ticket = ticket.wrapping_sub(*chance);
                won
            });
            let winner = winner.expect("the ticket is below the sum of chances");
            total -= chances[winner];
            chances[winner] = 0;
            drawn.push(winner);
        }
        drawn
    }
}
