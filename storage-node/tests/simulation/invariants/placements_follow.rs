//! I13: at most one owner of a partition differs between two epochs that follow each other.
//! I11: a move leaves a stage with a barrier only when requests of the stage before it can do no harm any more: who joins
//! or leaves has acknowledged the stage; or was given up, and so few of its set of owners have not that they are no quorum.

use std::collections::BTreeSet;

use annulus_node::simulation::SimCluster;
use annulus_ring::{Move, NodeId, OwnerSet, PartitionId, Placement, RingEpoch, Stage};

use crate::broken::Broken;

/// Looks at a placement that is about to be recorded. `least`: the smallest quorum that a promise rests on. `given_up`: a
/// node that moves don't wait for.
pub(crate) fn check(
    cluster: &SimCluster,
    (before, after): (&Placement, &Placement),
    (destroyed, given_up): (&BTreeSet<NodeId>, impl Fn(NodeId) -> bool),
    least: usize,
) -> Result<(), Broken> {
    for partition in before.partitions().ids() {
        let (old, new) = (owners(before, partition), owners(after, partition));
        if old.difference(&new).count() > 1 || new.difference(&old).count() > 1 {
            let what = format!("partition {partition}: {old:?}, then {new:?}");
            return Err(Broken::new("I13 one owner at a time", what));
        }
    }
    let left = before
        .moves()
        .iter()
        .filter(|it| ends_behind_barrier(after, it));
    for it in left {
        let is_behind = |node: &NodeId| !destroyed.contains(node) && is_behind(cluster, *node, it);
        let sets = [
            (it.remove, before.old_owners(it.partition())),
            (it.add, before.new_owners(it.partition())),
        ];
        for (alone, set) in sets {
            let Some(alone) = alone.map(|node| before.node(node).id).filter(is_behind) else {
                continue;
            };
            let behind = ids(before, set).into_iter().filter(&is_behind).count();
            let is_lost = it.lost && it.remove == before.index_of(alone);
            let is_passed_over = is_lost || given_up(alone);
            if !is_passed_over || behind >= least {
                let (id, stage, since) = (it.id, it.stage, it.since);
                let what = format!(
                    "{id} leaves {stage}, and {behind} owners don't know {since}, {alone} among them"
                );
                return Err(Broken::new("I11 barriers hold", what));
            }
        }
    }
    Ok(())
}

/// Whether it may still apply what was asked for before the move's stage. A process that has just begun to run has
/// acknowledged nothing yet, and holds what it held.
fn is_behind(cluster: &SimCluster, node: NodeId, it: &Move) -> bool {
    let node = cluster.node(node);
    let acked = node.epochs_in_use().map(|(acked, _)| acked);
    let known = acked.filter(|acked| *acked > RingEpoch(0));
    known.unwrap_or_else(|| node.kept_epoch()) < it.since
}

/// Whether the move leaves a stage that ends with a barrier.
fn ends_behind_barrier(after: &Placement, it: &Move) -> bool {
    let is_same = |other: &&Move| other.id == it.id;
    let now = after.move_of(it.partition()).filter(is_same);
    match (it.stage, now.map(|now| now.stage)) {
        (Stage::Dual, Some(now)) => now > Stage::Dual,
        (Stage::Verify, None) => true,
        (Stage::ReadNew, Some(now)) => now > Stage::ReadNew,
        (Stage::Commit, now) => now.is_none_or(|now| now > Stage::Commit),
        _ => false,
    }
}

fn owners(placement: &Placement, partition: PartitionId) -> BTreeSet<NodeId> {
    let owners = placement.owners(partition).iter();
    owners.map(|owner| placement.node(*owner).id).collect()
}

fn ids(placement: &Placement, set: OwnerSet<'_>) -> Vec<NodeId> {
    set.iter().map(|owner| placement.node(owner).id).collect()
}
