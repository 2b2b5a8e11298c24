//! I14: a copy is deleted when its node has no part in the partition any more, or begins again; and by who leaves it only after the new
//! owners have, on disk, every write that it had.

use std::collections::HashMap;

use annulus_causality::VersionVector;
use annulus_node::simulation::{Erased, SimCluster, UNSYNCED_KEYSPACE};
use annulus_node::storage::key_encoding;
use annulus_ring::{Move, NodeId, RingEpoch, Stage};

use super::acknowledged_is_on_disk::is_on_disk;
use super::dots_are_unique::DotsAreUnique;
use super::reaped_was_everywhere::ReapedWasEverywhere;
use crate::broken::Broken;

/// Looks at a copy that is about to be deleted. `lossy`: nodes that have lost something, and under
/// which epoch they had mended themselves. What one lost while the move went on, and nobody was promised, it may have again
/// only later.
pub(super) fn erased(
    cluster: &SimCluster,
    erased: &Erased,
    (dots, reaped): (&DotsAreUnique, &ReapedWasEverywhere),
    lossy: &HashMap<NodeId, Option<RingEpoch>>,
) -> Result<(), Broken> {
    let Erased {
        node, partition, ..
    } = erased;
    let issued = cluster.layout().current();
    let own = issued.index_of(*node);
    let mut targets = issued.write_sets(*partition).targets();
    // A copy that its move did not make, and that nobody reads from yet, makes room for one that it makes.
    let is_leftover = |it: &Move| {
        let joins = it.add == own && !it.stage.serves_new();
        joins && erased.joined != Some(it.id)
    };
    let may_begin_again = issued.move_of(*partition).is_some_and(is_leftover);
    if !may_begin_again && own.is_some_and(|own| targets.any(|target| target == own)) {
        let held = cluster.node(*node).held_placement();
        let held = held.map(|held| held.epoch());
        let what = format!(
            "{node} deletes its copy of {partition}, holding {held:?}, and {} sends it writes",
            issued.epoch()
        );
        return Err(broken(what));
    }
    let Some(held) = cluster.node(*node).held_placement() else {
        return Ok(());
    };
    let is_leaver = |it: &Move| {
        let leaves = it.remove.is_some() && it.remove == held.index_of(*node);
        leaves && !it.lost && it.stage == Stage::Cleanup
    };
    let Some(it) = held.move_of(*partition).filter(|it| is_leaver(it)) else {
        return Ok(());
    };
    let was_whole = |owner: &NodeId| {
        let mended = lossy.get(owner);
        mended.is_none_or(|mended| mended.is_some_and(|epoch| epoch < it.id.epoch))
    };
    let layout = cluster.layout();
    let owners = held.owners(*partition).iter();
    let owners: Vec<_> = owners.map(|owner| held.node(*owner).id).collect();
    for (stored, state) in &erased.had {
        let key = key_encoding::decode(stored);
        if key.is_some_and(|key| key.keyspace.as_str() == UNSYNCED_KEYSPACE) {
            continue;
        }
        let events = state.clock().iter();
        let mut had = VersionVector::new();
        events
            .map(|(actor, counter)| actor.dot(counter))
            .filter(|dot| dots.is_of_a_write(stored, *dot) && !reaped.covers(stored, *dot))
            .for_each(|dot| had.insert(dot));
        let has_it = |owner: &NodeId| is_on_disk(layout, layout.position_of(*owner), stored, &had);
        let lacks = owners
            .iter()
            .find(|owner| !has_it(owner) && was_whole(owner));
        let is_lost = !owners.iter().any(has_it);
        if !had.is_empty()
            && let Some(lacks) = lacks.or(is_lost.then_some(&owners[0]))
        {
            let what = format!("{node} deletes {state:?}, and {lacks} does not have it");
            return Err(broken(what).about(stored));
        }
    }
    Ok(())
}

fn broken(what: String) -> Broken {
    Broken::new("I14 copies end when others have all", what)
}
