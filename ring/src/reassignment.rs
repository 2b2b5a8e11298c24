//! From the owners of today to the targets of tomorrow, with few moves.
//!
//! The owner lists are a flow: each partition sends N units through its zones to nodes, each
//! node takes its target. Starting from the owners that may stay, every unit that is missing
//! (a vacant place) or in the wrong node (more than its target) is sent along a shortest
//! augmenting path to a node below its target. A path is a chain "B takes a partition from
//! A, C takes another from B". Chains that cost one move only are looked for first: there,
//! each node in between either takes back a partition it owned originally or gives away one
//! that it would have got anyway. Where those are exhausted, any chain will do; the shortest
//! is taken. As the targets are feasible (`share.rs`), there always is one.
//!
//! All choices are by order of ids or by fixed pseudo-random numbers.

use crate::claim::mix;
use crate::layout::Layout;
use crate::node::NodeIndex;

mod search;

use search::{Link, Search};

/// One place of a partition changes hands; no giver: it was vacant.
#[derive(Clone, Copy, Debug)]
struct Change {
    partition: usize,
    giver: Option<usize>,
    taker: usize,
}

/// A unit of flow to be sent on.
#[derive(Clone, Copy, Debug)]
enum Source {
    Vacancy { partition: usize },
    Surplus { node: usize },
}

/// Which chains are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cost {
    /// Ends with a node that takes back what it had to vacate.
    NoMove,
    OneMove,
    Any,
}

/// New owners, N places for each partition; `places` are the original ones, vacant where the
/// owner does not stay. `Err` with a partition that could not be filled, which targets from
/// `share.rs` exclude.
pub(crate) fn reassign(
    layout: &Layout,
    targets: &[usize],
    places: Vec<Option<NodeIndex>>,
) -> Result<Vec<NodeIndex>, usize> {
    let mut state = Reassignment::new(layout, targets, places);
    let vacated = state.vacate_what_zones_forbid();
    let mut left = state.vacancies();
    left.retain(|source| !state.send(*source, Cost::OneMove));
    left.extend(state.surpluses());
    if vacated {
        // Who had to go was a guess: correct it as long as that is free.
        left.retain(|source| !state.send(*source, Cost::NoMove));
    }
    left.retain(|source| !state.send(*source, Cost::OneMove));
    left.retain(|source| !state.send(*source, Cost::OneMove) && !state.send(*source, Cost::Any));
    if let Some(source) = left.first() {
        return Err(match source {
            Source::Vacancy { partition } => *partition,
            Source::Surplus { node } => state.vnodes[*node][0],
        });
    }
    Ok(state
        .places
        .into_iter()
        .map(|place| place.expect("every vacancy was filled"))
        .collect())
}

struct Reassignment<'a> {
    layout: &'a Layout,
    targets: &'a [usize],
    original: Vec<Option<NodeIndex>>,
    places: Vec<Option<NodeIndex>>,
    /// By node: the partitions it owns now.
    vnodes: Vec<Vec<usize>>,
    /// By node: how many of them it did not own originally.
    gained: Vec<usize>,
    /// Nodes with fewer vnodes than their target.
    needy: Vec<usize>,
    /// Whether some zone must have a copy of every partition.
    zones_have_least: bool,
}

impl<'a> Reassignment<'a> {
    fn new(layout: &'a Layout, targets: &'a [usize], places: Vec<Option<NodeIndex>>) -> Self {
        let mut vnodes = vec![Vec::new(); targets.len()];
        for (place, owner) in places.iter().enumerate() {
            if let Some(owner) = owner {
                vnodes[owner.at()].push(place / layout.replicas);
            }
        }
        let needy = (0..targets.len()).filter(|node| vnodes[*node].len() < targets[*node]);
        Self {
            layout,
            targets,
            original: places.clone(),
            needy: needy.collect(),
            places,
            gained: vec![0; targets.len()],
            vnodes,
            zones_have_least: layout.zones.iter().any(|zone| zone.least > 0),
        }
    }

    fn row(&self, partition: usize) -> &[Option<NodeIndex>] {
        let n = self.layout.replicas;
        &self.places[partition * n..(partition + 1) * n]
    }

    fn owned_originally(&self, partition: usize, node: usize) -> bool {
        let n = self.layout.replicas;
        let row = &self.original[partition * n..(partition + 1) * n];
        row.contains(&Some(NodeIndex::from_at(node)))
    }

    fn zone_of(&self, node: usize) -> usize {
        self.layout.zone_of[node].expect("draining nodes have no place and no target")
    }

    /// How many copies of the partition the zone holds.
    fn copies(&self, partition: usize, zone: usize) -> usize {
        let owners = self.row(partition).iter().flatten();
        owners
            .filter(|owner| self.layout.zone_of[owner.at()] == Some(zone))
            .count()
    }

    /// Vacant places minus those that zones below their least need.
    fn free_places(&self, partition: usize) -> isize {
        let vacant = self
            .row(partition)
            .iter()
            .filter(|place| place.is_none())
            .count();
        let mut reserved = 0;
        if self.zones_have_least {
            for (zone, bounds) in self.layout.zones.iter().enumerate() {
                reserved += bounds.least.saturating_sub(self.copies(partition, zone));
            }
        }
        vacant.cast_signed() - reserved.cast_signed()
    }

    /// Vacates places of zones with too many copies, then places that zones with too few
    /// need, from those nodes that have most to give. Says whether there were any.
    fn vacate_what_zones_forbid(&mut self) -> bool {
        let mut vacated = false;
        for partition in 0..self.layout.partitions {
            for zone in 0..self.layout.zones.len() {
                while self.copies(partition, zone) > self.layout.zones[zone].most {
                    self.vacate_one(partition, |it, owner| it.zone_of(owner) == zone);
                    vacated = true;
                }
            }
            while self.free_places(partition) < 0 {
                self.vacate_one(partition, |it, owner| {
                    let zone = it.zone_of(owner);
                    it.copies(partition, zone) > it.layout.zones[zone].least
                });
                vacated = true;
            }
        }
        vacated
    }

    fn vacate_one(&mut self, partition: usize, may_go: impl Fn(&Self, usize) -> bool) {
        let owners = self.row(partition).iter().flatten().map(|owner| owner.at());
        let goes = owners
            .filter(|owner| may_go(self, *owner))
            .max_by_key(|owner| {
                let surplus =
                    self.vnodes[*owner].len().cast_signed() - self.targets[*owner].cast_signed();
                (surplus, mix(partition, *owner))
            });
        let goes = goes.expect("a zone above its bound has an owner in the partition");
        let place = self.place_of(partition, Some(goes));
        self.places[place] = None;
        self.vnodes[goes].retain(|owned| *owned != partition);
        if self.vnodes[goes].len() < self.targets[goes] && !self.needy.contains(&goes) {
            self.needy.push(goes);
        }
    }

    fn place_of(&self, partition: usize, owner: Option<usize>) -> usize {
        let owner = owner.map(NodeIndex::from_at);
        let at = self.row(partition).iter().position(|place| *place == owner);
        partition * self.layout.replicas + at.expect("the giver owns the partition")
    }

    /// One for each vacant place.
    fn vacancies(&self) -> Vec<Source> {
        let n = self.layout.replicas;
        let vacant = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.is_none());
        vacant
            .map(|(place, _)| Source::Vacancy {
                partition: place / n,
            })
            .collect()
    }

    /// One for each vnode above a target.
    fn surpluses(&self) -> Vec<Source> {
        let surplus = |node: usize| {
            let count = self.vnodes[node].len().saturating_sub(self.targets[node]);
            std::iter::repeat_n(Source::Surplus { node }, count)
        };
        (0..self.targets.len()).flat_map(surplus).collect()
    }

    /// Sends one unit to a node below its target; `false` if no chain leads there.
    fn send(&mut self, source: Source, cost: Cost) -> bool {
        let Some(chain) = self.shortest_chain(source, cost) else {
            return false;
        };
        for change in chain {
            self.apply(change);
        }
        let (targets, vnodes) = (self.targets, &self.vnodes);
        self.needy
            .retain(|node| vnodes[*node].len() < targets[*node]);
        true
    }

    fn apply(
        &mut self,
        Change {
            partition,
            giver,
            taker,
        }: Change,
    ) {
        let place = self.place_of(partition, giver);
        self.places[place] = Some(NodeIndex::from_at(taker));
        self.vnodes[taker].push(partition);
        self.gained[taker] += usize::from(!self.owned_originally(partition, taker));
        if let Some(giver) = giver {
            let at = self.vnodes[giver]
                .iter()
                .position(|owned| *owned == partition);
            self.vnodes[giver].swap_remove(at.expect("the giver owns the partition"));
            self.gained[giver] -= usize::from(!self.owned_originally(partition, giver));
        }
    }

    /// Breadth-first search over nodes that would have one vnode too many.
    fn shortest_chain(&self, source: Source, cost: Cost) -> Option<Vec<Change>> {
        let mut search = Search::new(self, cost);
        match source {
            Source::Surplus { node } => search.reach(Link {
                node,
                any: true,
                took: None,
            }),
            Source::Vacancy { partition } => {
                if let Some(last) = search.end_with(partition, None, None) {
                    return Some(search.chain(last, None));
                }
                search.extend_by(partition, None, None);
            }
        }
        let mut at = 0;
        while at < search.links.len() {
            let node = search.links[at].node;
            let mut gifts: Vec<usize> = self.vnodes[node].clone();
            if !search.links[at].any {
                gifts.retain(|partition| !self.owned_originally(*partition, node));
            }
            let begin = mix(node, gifts.len()) % (gifts.len() as u64).max(1);
            gifts.rotate_left(usize::try_from(begin).expect("below the length"));
            for &partition in &gifts {
                if let Some(last) = search.end_with(partition, Some(node), Some(at)) {
                    return Some(search.chain(last, Some(at)));
                }
            }
            for &partition in &gifts {
                search.extend_by(partition, Some(node), Some(at));
            }
            at += 1;
        }
        None
    }

    /// Whether the taker may own the partition in the giver's place, or in a vacant one.
    fn fits(&self, change: Change) -> bool {
        let Change {
            partition,
            giver,
            taker,
        } = change;
        if self
            .row(partition)
            .contains(&Some(NodeIndex::from_at(taker)))
        {
            return false;
        }
        let to = self.zone_of(taker);
        let from = giver.map(|giver| self.zone_of(giver));
        if from == Some(to) {
            return true;
        }
        let copies = self.copies(partition, to);
        if copies >= self.layout.zones[to].most {
            return false;
        }
        let freed =
            from.is_some_and(|from| self.copies(partition, from) > self.layout.zones[from].least);
        let needs_free_place = copies >= self.layout.zones[to].least;
        self.free_places(partition) + isize::from(freed) >= isize::from(needs_free_place)
    }
}
