//! One breadth-first search for a chain of changes: which nodes are reached, through what, and
//! which further changes are allowed. Where to look next is the caller's.

use std::cmp::Reverse;

use super::{Change, Cost, Reassignment};
use crate::claim::mix;

/// A node on a chain: it took something and has one vnode more than it should.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) node: usize,
    /// Whether it may give away any of its vnodes, or only those it did not own originally.
    pub(super) any: bool,
    /// What it took, and the link before; `None` at the chain's beginning.
    pub(super) took: Option<(Change, Option<usize>)>,
}

/// One breadth-first search.
pub(super) struct Search<'a> {
    state: &'a Reassignment<'a>,
    cost: Cost,
    pub(super) links: Vec<Link>,
    /// Nodes that are not on the list yet, or not with `any`.
    unreached: Vec<usize>,
    /// By node: on the list without `any`.
    reached_partly: Vec<bool>,
}

impl<'a> Search<'a> {
    pub(super) fn new(state: &'a Reassignment<'a>, cost: Cost) -> Self {
        let nodes = 0..state.targets.len();
        let unreached = nodes
            .filter(|node| state.layout.zone_of[*node].is_some())
            .collect();
        let reached_partly = vec![false; state.targets.len()];
        Self {
            state,
            cost,
            links: Vec::new(),
            unreached,
            reached_partly,
        }
    }

    pub(super) fn reach(&mut self, link: Link) {
        if link.any {
            self.unreached.retain(|node| *node != link.node);
        } else {
            self.reached_partly[link.node] = true;
        }
        self.links.push(link);
    }

    /// The change that ends the chain: the neediest node that fits takes the partition.
    pub(super) fn end_with(
        &self,
        partition: usize,
        giver: Option<usize>,
        before: Option<usize>,
    ) -> Option<Change> {
        let state = self.state;
        let changes = state.needy.iter().map(|taker| Change {
            partition,
            giver,
            taker: *taker,
        });
        changes
            .filter(|change| self.allowed(*change, before))
            .min_by_key(|change| {
                let need = state.targets[change.taker] - state.vnodes[change.taker].len();
                (Reverse(need), mix(partition, change.taker))
            })
    }

    /// Adds the nodes that could take the partition and give another.
    pub(super) fn extend_by(
        &mut self,
        partition: usize,
        giver: Option<usize>,
        before: Option<usize>,
    ) {
        let state = self.state;
        for taker in self.unreached.clone() {
            let any = self.cost == Cost::Any || state.owned_originally(partition, taker);
            let partly = state.gained[taker] > 0 && !self.reached_partly[taker];
            let change = Change {
                partition,
                giver,
                taker,
            };
            if (any || partly) && self.allowed(change, before) {
                self.reach(Link {
                    node: taker,
                    any,
                    took: Some((change, before)),
                });
            }
        }
    }

    /// Whether the change fits, also together with the chain before it: two changes of one
    /// partition may not use the same room, so the second must stay within its zone.
    fn allowed(&self, change: Change, before: Option<usize>) -> bool {
        let state = self.state;
        if !state.fits(change) {
            return false;
        }
        let within_zone = change
            .giver
            .is_some_and(|giver| state.zone_of(giver) == state.zone_of(change.taker));
        within_zone
            || !self
                .changes_up_to(before)
                .any(|it| it.partition == change.partition)
    }

    /// The changes that led to a link, last first.
    fn changes_up_to(&self, link: Option<usize>) -> impl Iterator<Item = Change> {
        let took = |link: Option<usize>| link.and_then(|at| self.links[at].took);
        std::iter::successors(took(link), move |(_, before)| took(*before)).map(|(it, _)| it)
    }

    pub(super) fn chain(&self, last: Change, before: Option<usize>) -> Vec<Change> {
        let mut chain: Vec<Change> = std::iter::once(last)
            .chain(self.changes_up_to(before))
            .collect();
        chain.reverse();
        chain
    }
}
