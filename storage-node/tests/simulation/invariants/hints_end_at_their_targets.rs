//! I17: a hint is removed when its target has it on its platter, and not before; or, if that owns the key no more, when
//! an owner has it; or when it is too old; but a sloppy one, which was counted for an acknowledgement, never for that.

use std::sync::Arc;
use std::time::Duration;

use annulus_node::simulation::{HintRemoved, SimCluster, UNSYNCED_KEYSPACE};
use annulus_node::storage::key_encoding;
use annulus_ring::{PartitionId, Placement};
use bytes::Bytes;

use super::acknowledged_is_on_disk::is_on_disk;
use crate::broken::Broken;
use crate::faults::JUMP_MS;

pub(super) fn removed(
    cluster: &Arc<SimCluster>,
    removed: &HintRemoved<'_>,
    ttl: Duration,
) -> Result<(), Broken> {
    let stored = Bytes::copy_from_slice(removed.stored_key);
    let key = key_encoding::decode(&stored);
    if key.is_some_and(|key| key.keyspace.as_str() == UNSYNCED_KEYSPACE) {
        return Ok(()); // it waits for no disk
    }
    let mut nodes = cluster.nodes().iter();
    let Some(target) = nodes.find(|node| node.id() == removed.target) else {
        return Ok(());
    };
    let has_it = match target.disk().durable_state(removed.stored_key) {
        Ok(state) => state.is_some_and(|state| state.clock().descends(removed.state.clock())),
        Err(_) => true, // it was there before the record was damaged, or nobody can tell
    };
    if has_it
        || owners_have_it(cluster, removed)
        || (!removed.sloppy && may_be_expired(cluster, removed, ttl))
    {
        return Ok(());
    }
    let kind = if removed.sloppy { "a sloppy" } else { "a" };
    let what = format!(
        "{} removes {kind} hint that {} has not on its disk",
        removed.node, removed.target
    );
    Err(Broken::new("I17 hints end at their targets", what))
}

/// Whether the target has no part in the partition, at present or as the remover knows, and an owner has it.
fn owners_have_it(cluster: &SimCluster, removed: &HintRemoved<'_>) -> bool {
    let partition = PartitionId(u16::from_be_bytes([
        removed.stored_key[0],
        removed.stored_key[1],
    ]));
    let layout = cluster.layout();
    let current = layout.current();
    let known = cluster.node(removed.node).held_placement();
    let takes_writes = |placement: &Placement| {
        let target = placement.index_of(removed.target);
        let mut targets = placement.write_sets(partition).targets();
        target.is_some_and(|target| targets.any(|one| one == target))
    };
    if takes_writes(&current) && known.as_deref().is_none_or(takes_writes) {
        return false;
    }
    let owners = current.owners(partition).iter();
    let owners = owners.map(|owner| current.node(*owner).id);
    // The remover's own disk is being written to.
    let mut others = owners.filter(|owner| *owner != removed.node);
    others.any(|owner| {
        let at = layout.position_of(owner);
        is_on_disk(layout, at, removed.stored_key, removed.state.clock())
    })
}

/// Sender or receiver may have judged by a clock that was wrong at that moment.
fn may_be_expired(cluster: &SimCluster, removed: &HintRemoved<'_>, ttl: Duration) -> bool {
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let jumps_ms = u64::try_from(2 * JUMP_MS).expect("positive");
    let latest_ms = cluster.nodes().iter().map(|node| node.wall_ms()).max();
    let latest_ms = latest_ms.unwrap_or_default().saturating_add(jumps_ms);
    latest_ms >= removed.written_ms.saturating_add(ttl_ms)
}
