//! Which moves under way are called off, because something else is desired by now.

use std::collections::{BTreeMap, BTreeSet};

use super::id::MoveId;
use super::plan::{Desired, target, to_begin};
use super::record::Move;
use crate::node::{NodeId, NodeIndex};
use crate::placement::Placement;
use crate::transfer_plan::{PlanError, Settled, TransferPlan};

/// Moves under way that lead away from what is desired and can be called off.
pub(crate) fn superseded(
    placement: &Placement,
    desired: &Desired<'_>,
) -> Result<BTreeSet<MoveId>, PlanError> {
    let open = placement.moves().iter();
    let open: Vec<&Move> = open.filter(|it| it.stage.can_be_cancelled()).collect();
    let aimless = open.iter().filter(|it| is_aimless(placement, desired, it));
    let mut cancel: BTreeSet<MoveId> = aimless.map(|it| it.id).collect();
    let undone = &reversals(placement, desired, &open)? - &cancel;
    if !undone.is_empty() {
        let with = &cancel | &undone;
        let kept = to_begin(placement, desired, &cancel)?.len();
        let called_off = to_begin(placement, desired, &with)?.len();
        // Both the move and its reversal must be saved. A plan that is merely no better than the
        // last one, from one epoch to the next, must not start and stop moves for ever.
        if called_off + undone.len() <= kept {
            cancel = with;
        }
    }
    Ok(cancel)
}

/// Whether the move leads to a node that takes no vnodes, or to a number of copies that is not
/// wanted.
fn is_aimless(placement: &Placement, desired: &Desired<'_>, it: &Move) -> bool {
    let wanted = usize::from(desired.replication_factor.get());
    let owners = placement.new_owners(it.partition()).len();
    match (it.add, it.remove) {
        (Some(add), _) if !desired.takes(placement.node(add).id) => true,
        (Some(_), None) => owners > wanted,
        (None, _) => owners < wanted,
        (Some(_), Some(_)) => false,
    }
}

/// Moves whose leaver is to get, after them, as many vnodes as it gave, and whose joining owner is
/// to give some: a mind was changed.
fn reversals(
    placement: &Placement,
    desired: &Desired<'_>,
    open: &[&Move],
) -> Result<BTreeSet<MoveId>, PlanError> {
    let takes_back = |node: &NodeIndex| desired.takes(placement.node(*node).id);
    let may_be = |it: &&&Move| it.add.is_some() && it.remove.as_ref().is_some_and(takes_back);
    let mut undone = BTreeSet::new();
    if !open.iter().any(|it| may_be(&it)) {
        return Ok(undone);
    }
    let target = target(placement, desired, &Settled::new(placement, |_| true))?;
    let mut gains = gains(placement, &target);
    for it in open.iter().filter(may_be) {
        let id = |node: Option<NodeIndex>| node.map(|node| placement.node(node).id);
        let (Some(add), Some(remove)) = (id(it.add), id(it.remove)) else {
            continue;
        };
        let gain = |node| gains.get(&node).copied().unwrap_or(0);
        if gain(remove) > 0 && gain(add) < 0 {
            *gains.entry(remove).or_default() -= 1;
            *gains.entry(add).or_default() += 1;
            undone.insert(it.id);
        }
    }
    Ok(undone)
}

/// By node: vnodes that it is to get in all, less those that it is to give.
fn gains(placement: &Placement, target: &TransferPlan) -> BTreeMap<NodeId, i64> {
    let mut gains = BTreeMap::new();
    for partition in placement.partitions().ids() {
        for owner in placement.new_owners(partition).iter() {
            *gains.entry(placement.node(owner).id).or_default() -= 1;
        }
        for owner in target.owners(partition) {
            *gains
                .entry(target.nodes()[usize::from(owner.0)].id)
                .or_default() += 1;
        }
    }
    gains
}
