//! I14: a copy is deleted when its node has no part in the partition any more, or begins again; and by who leaves it only after the new
//! owners have, on disk, every write that it had.

use annulus_causality::VersionVector;
use annulus_node::simulation::{Erased, SimCluster, UNSYNCED_KEYSPACE};
use annulus_node::storage::key_encoding;
use annulus_ring::{Move, Stage};

use super::acknowledged_is_on_disk::is_on_disk;
use super::dots_are_unique::DotsAreUnique;
use super::reaped_was_everywhere::ReapedWasEverywhere;
use crate::broken::Broken;

/// Looks at a copy that is about to be deleted. Where disks get lost, one owner may have it again only later.
pub(super) fn erased(
    cluster: &SimCluster,
    erased: &Erased,
    (dots, reaped): (&DotsAreUnique, &ReapedWasEverywhere),
    loses_disks: bool,
) -> Result<(), Broken> {
    let Erased {
        node, partition, ..
    } = erased;
    let issued = cluster.layout().current();
    let own = issued.index_of(*node);
    let mut targets = issued.write_sets(*partition).targets();
    // Nobody reads from who joins before it serves: the old owners have all that it had.
    let joins = |it: &Move| it.add == own && !it.stage.serves_new();
    let may_begin_again = issued.move_of(*partition).is_some_and(joins);
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
    let leaves = held.move_of(*partition).is_some_and(is_leaver);
    if !leaves {
        return Ok(());
    }
    let owners = held.owners(*partition);
    let needed = if loses_disks { 1 } else { owners.len() };
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
        let layout = cluster.layout();
        let holders = owners.iter().filter(|owner| {
            let at = layout.position_of(held.node(**owner).id);
            is_on_disk(layout, at, stored, &had)
        });
        let count = holders.count();
        if count < needed && !had.is_empty() {
            let what = format!("{node} deletes {state:?}, and {count} new owners have it");
            return Err(broken(what).about(stored));
        }
    }
    Ok(())
}

fn broken(what: String) -> Broken {
    Broken::new("I14 copies end when others have all", what)
}
