//! The step from one placement to the next: new owner lists, and the vnodes that change hands.
//!
//! Plans are made of what is desired, whatever led there: the same members in any order give
//! the same plan, and planning again from its result moves nothing. The laws are in
//! `claim.rs`. In which order and how fast transfers run, and the stages of each, is not
//! decided here (`moves/`). Moves under way count as done.

use std::borrow::Cow;
use std::collections::HashMap;

use thiserror::Error;
use uuid::Uuid;

use crate::claim::{deal, mix};
use crate::document::PlacementDocument;
use crate::epoch::RingEpoch;
use crate::layout::Layout;
use crate::moves::{Move, MoveId, swaps};
use crate::node::{Node, NodeId, NodeIndex};
use crate::partition::{PartitionCount, PartitionId, ReplicationFactor};
use crate::placement::{Placement, PlacementError, check_nodes};
use crate::reassignment::reassign;
use crate::share::targets;
use crate::token::HashSeed;

/// One vnode changes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transfer {
    /// What moves.
    pub partition: PartitionId,
    /// Who gives it up, a member or not; `None` where the partition had no such owner.
    pub from: Option<NodeId>,
    /// Who gets it.
    pub to: NodeId,
}

/// The next owner lists, and how they differ from the current ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferPlan {
    partitions: PartitionCount,
    replication_factor: ReplicationFactor,
    nodes: Vec<Node>,
    owners: Vec<NodeIndex>,
    transfers: Vec<Transfer>,
}

/// Why there is no plan. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The desired nodes cannot be members of a placement.
    #[error("the desired nodes are refused: {0}")]
    Nodes(#[from] PlacementError),
    /// Fewer nodes to own vnodes than copies.
    #[error(
        "{active} active nodes for {needed} copies: add nodes, drain fewer, or found the \
         cluster with a smaller replication factor"
    )]
    TooFewNodes {
        /// Nodes that are not draining.
        active: usize,
        /// N.
        needed: usize,
    },
    /// The number of partitions is fixed for the cluster's life.
    #[error("{desired} partitions are desired, but the ring was founded with {current}")]
    PartitionsChanged {
        /// Of the current placement.
        current: PartitionCount,
        /// Of the call.
        desired: PartitionCount,
    },
    /// The planner met a case that its laws exclude.
    #[error("no owner list for partition {0} was found: this is a defect of the planner")]
    Stuck(PartitionId),
    /// A placement without moves would drop those under way.
    #[error("move {0} is under way: wait for its end, or cancel it")]
    Moving(MoveId),
    /// The epochs are used up.
    #[error("there is no epoch after {0}")]
    LastEpoch(RingEpoch),
}

/// Plans the owner lists of the `desired` members; from nothing if there is no current
/// placement.
///
/// Draining nodes in `desired` stay members without vnodes; nodes of the current placement
/// that are not in `desired` are members no more. With a smaller replication factor, each
/// partition gives up copies, which are no transfers.
pub fn plan(
    current: Option<&Placement>,
    desired: &[Node],
    partitions: PartitionCount,
    replication_factor: ReplicationFactor,
) -> Result<TransferPlan, PlanError> {
    let current = current.map(|current| Settled::new(current, |_| true));
    plan_settled(current.as_ref(), desired, partitions, replication_factor)
}

/// A placement with its moves decided, for planning.
pub(crate) struct Settled<'a> {
    /// With the moves that are to be done.
    pub(crate) planned: Cow<'a, Placement>,
    /// With those only that cannot be called off any more. Shares are rounded in favour of who
    /// holds more by this, so that moves under way do not shift what they are to lead to.
    committed: Cow<'a, Placement>,
}

impl<'a> Settled<'a> {
    /// Of this placement, with the moves done that are to be.
    pub(crate) fn new(placement: &'a Placement, done: impl Fn(&Move) -> bool) -> Self {
        Self {
            planned: placement.settled(done),
            committed: placement.settled(|it| !it.stage.can_be_cancelled()),
        }
    }
}

pub(crate) fn plan_settled(
    current: Option<&Settled<'_>>,
    desired: &[Node],
    partitions: PartitionCount,
    replication_factor: ReplicationFactor,
) -> Result<TransferPlan, PlanError> {
    let mut nodes = desired.to_vec();
    nodes.sort_by_key(|node| node.id);
    check_nodes(&nodes)?;
    let layout = Layout::new(&nodes, partitions, replication_factor).map_err(|active| {
        PlanError::TooFewNodes {
            active,
            needed: replication_factor.len(),
        }
    })?;
    let owners = match current {
        None => deal(&layout, &targets(&layout, &vec![0; nodes.len()])),
        Some(Settled { planned, committed }) => {
            check_fixed(planned, partitions)?;
            let staying = staying_owners(planned, &nodes, &layout);
            let held = held(&staying_owners(committed, &nodes, &layout), nodes.len());
            let owners = reassign(&layout, &targets(&layout, &held), staying)
                .map_err(|partition| PlanError::Stuck(id_of(partition)))?;
            in_place_of(planned, &nodes, layout.replicas, &owners)
        }
    };
    let planned = current.map(|current| current.planned.as_ref());
    let transfers = transfers(planned, &nodes, layout.replicas, &owners);
    Ok(TransferPlan {
        partitions,
        replication_factor,
        nodes,
        owners,
        transfers,
    })
}

/// The first placement of a cluster, with [`RingEpoch::FIRST`].
pub fn found(
    cluster_id: Uuid,
    hash_seed: HashSeed,
    partitions: PartitionCount,
    replication_factor: ReplicationFactor,
    nodes: &[Node],
) -> Result<Placement, PlanError> {
    let plan = plan(None, nodes, partitions, replication_factor)?;
    Ok(plan.into_placement(cluster_id, hash_seed, RingEpoch::FIRST)?)
}

impl TransferPlan {
    /// The members, ascending by id.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The owners that a partition will have, as positions in [`TransferPlan::nodes`].
    ///
    /// # Panics
    /// If the partition is not below the number of partitions.
    pub fn owners(&self, partition: PartitionId) -> &[NodeIndex] {
        let n = self.replication_factor.len();
        &self.owners[partition.at() * n..(partition.at() + 1) * n]
    }

    /// The vnodes that change hands, ascending by partition.
    pub fn transfers(&self) -> &[Transfer] {
        &self.transfers
    }

    /// Whether the current placement is already as planned, members included.
    pub fn changes_nothing(&self, current: &Placement) -> bool {
        self.transfers.is_empty()
            && self.nodes == current.nodes()
            && self.replication_factor == current.replication_factor()
            && current.moves().is_empty()
    }

    /// The placement after all transfers, at the epoch after the current one.
    pub fn after(self, current: &Placement) -> Result<Placement, PlanError> {
        if let Some(it) = current.moves().first() {
            return Err(PlanError::Moving(it.id));
        }
        let epoch = current
            .epoch()
            .next()
            .ok_or(PlanError::LastEpoch(current.epoch()))?;
        Ok(self.into_placement(current.cluster_id(), current.hash_seed(), epoch)?)
    }

    /// The placement after all transfers.
    pub fn into_placement(
        self,
        cluster_id: Uuid,
        hash_seed: HashSeed,
        epoch: RingEpoch,
    ) -> Result<Placement, PlacementError> {
        Placement::try_from(PlacementDocument {
            cluster_id,
            epoch,
            hash_seed,
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            nodes: self.nodes,
            owners: self.owners,
            moves: Vec::new(),
            fingerprint: None,
        })
    }
}

fn check_fixed(current: &Placement, partitions: PartitionCount) -> Result<(), PlanError> {
    if current.partitions() != partitions {
        let current = current.partitions();
        return Err(PlanError::PartitionsChanged {
            current,
            desired: partitions,
        });
    }
    Ok(())
}

fn id_of(partition: usize) -> PartitionId {
    PartitionId(u16::try_from(partition).expect("below 16384"))
}

/// By node: the vnodes it has.
fn held(places: &[Option<NodeIndex>], nodes: usize) -> Vec<usize> {
    let mut held = vec![0; nodes];
    for owner in places.iter().flatten() {
        held[owner.at()] += 1;
    }
    held
}

/// The current owners by their new indexes, N places for each partition; vacant where the owner
/// leaves or drains, and where there was none.
fn staying_owners(current: &Placement, nodes: &[Node], layout: &Layout) -> Vec<Option<NodeIndex>> {
    let at: HashMap<NodeId, usize> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| (node.id, at))
        .collect();
    let stays = |node: &Node| {
        let at = at
            .get(&node.id)
            .copied()
            .filter(|at| layout.zone_of[*at].is_some());
        at.map(NodeIndex::from_at)
    };
    let new_index: Vec<Option<NodeIndex>> = current.nodes().iter().map(stays).collect();
    let replicas = layout.replicas.max(current.replication_factor().len());
    let mut staying = Vec::with_capacity(layout.partitions * replicas);
    for partition in current.partitions().ids() {
        let owners = current.owners(partition);
        staying.extend(owners.iter().map(|owner| new_index[owner.at()]));
        staying.resize(staying.len() + replicas - owners.len(), None);
    }
    if replicas > layout.replicas {
        give_up_copies(&staying, replicas, layout)
    } else {
        staying
    }
}

/// Rows of N places from longer ones: first the vacant places go, then owners of zones with most
/// copies, of these who has most to give.
fn give_up_copies(
    places: &[Option<NodeIndex>],
    from: usize,
    layout: &Layout,
) -> Vec<Option<NodeIndex>> {
    let mut held = held(places, layout.capacity.len());
    let targets = targets(layout, &held);
    let mut staying = Vec::with_capacity(layout.partitions * layout.replicas);
    for (partition, row) in places.chunks_exact(from).enumerate() {
        let mut row: Vec<NodeIndex> = row.iter().flatten().copied().collect();
        while row.len() > layout.replicas {
            let zone = |owner: &NodeIndex| layout.zone_of[owner.at()];
            let copies = |of: &NodeIndex| row.iter().filter(|it| zone(it) == zone(of)).count();
            let to_give =
                |it: &NodeIndex| held[it.at()].cast_signed() - targets[it.at()].cast_signed();
            let rank = |it: &NodeIndex| (copies(it), to_give(it), mix(partition, it.at()));
            let goes = (0..row.len()).max_by_key(|at| rank(&row[*at]));
            let goes = row.remove(goes.expect("a row longer than N is not empty"));
            held[goes.at()] -= 1;
        }
        let end = staying.len() + layout.replicas;
        staying.extend(row.into_iter().map(Some));
        staying.resize(end, None);
    }
    staying
}

/// Orders each owner list so that who stays keeps the place, and who is new takes that of an
/// owner of the same zone, where one leaves.
fn in_place_of(
    current: &Placement,
    nodes: &[Node],
    replicas: usize,
    owners: &[NodeIndex],
) -> Vec<NodeIndex> {
    let mut ordered = Vec::with_capacity(owners.len());
    for (partition, row) in current
        .partitions()
        .ids()
        .zip(owners.chunks_exact(replicas))
    {
        let before: Vec<&Node> = current
            .owners(partition)
            .iter()
            .map(|owner| current.node(*owner))
            .collect();
        let mut places = vec![None; replicas];
        let mut new = Vec::new();
        for owner in row {
            match before
                .iter()
                .position(|node| node.id == nodes[owner.at()].id)
            {
                Some(place) if place < replicas => places[place] = Some(*owner),
                _ => new.push(*owner),
            }
        }
        for same_zone in [true, false] {
            new.retain(|owner| {
                let zone = &nodes[owner.at()].zone;
                let vacant = (0..replicas).find(|place| {
                    let fits = before.get(*place).is_some_and(|node| node.zone == *zone);
                    places[*place].is_none() && (fits || !same_zone)
                });
                if let Some(place) = vacant {
                    places[place] = Some(*owner);
                }
                vacant.is_none()
            });
        }
        ordered.extend(places.into_iter().flatten());
    }
    ordered
}

fn transfers(
    current: Option<&Placement>,
    nodes: &[Node],
    replicas: usize,
    owners: &[NodeIndex],
) -> Vec<Transfer> {
    let mut transfers = Vec::new();
    for (at, row) in owners.chunks_exact(replicas).enumerate() {
        let partition = id_of(at);
        let before: Vec<NodeId> = current
            .map(|current| {
                let owners = current.owners(partition).iter();
                owners.map(|owner| current.node(*owner).id).collect()
            })
            .unwrap_or_default();
        let after: Vec<NodeId> = row.iter().map(|owner| nodes[owner.at()].id).collect();
        for swap in swaps(&before, &after) {
            let from = swap.remove;
            transfers.extend(swap.add.map(|to| Transfer {
                partition,
                from,
                to,
            }));
        }
    }
    transfers
}
