//! What a write or a merge makes of a key's state. Pure: states, clocks and the time are
//! arguments.

use annulus_causality::{
    Content, HlcClock, HlcError, HlcStamp, KeyState, MintError, NewWrite, Received, VersionVector,
    VnodeClock,
};
use annulus_ring::PartitionId;

use super::error::ReplicaError;
use super::operation::{Merge, Write};
use super::version::{LOGICAL_MAX, version_at};
use crate::mistake::{self, Mistake};

/// A write that has its dot.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) state: KeyState,
    pub(super) clock: VersionVector,
    pub(super) version: u64,
    pub(super) existed: bool,
    pub(super) replayed: bool,
}

/// Gives a write its dot and its stamp over the local state.
pub(super) fn mint(
    vnode: &mut VnodeClock,
    hlc: &mut HlcClock,
    now_ms: u64,
    local: Option<&KeyState>,
    write: &Write,
) -> Result<Transition, ReplicaError> {
    let stamp = tick(hlc, now_ms, local.and_then(KeyState::max_stamp))?;
    let new = new_write(write, stamp);
    let policy = write.address.keyspace().conflict.into();
    let partition = write.address.partition();
    let minted = vnode
        .mint(local, &write.context, new, policy)
        .map_err(|error| not_minted(partition, error))?;
    let mut clock = write.context.clone();
    if mistake::is_made(Mistake::ContextCoversUnseen) {
        clock.join(minted.state.clock());
    }
    clock.insert(minted.dot);
    let stamped = minted
        .state
        .siblings()
        .iter()
        .find(|sibling| sibling.dot == minted.dot);
    let remembered = minted
        .state
        .recent_requests()
        .iter()
        .find(|known| known.dot == minted.dot);
    let stamp = stamped
        .map(|sibling| sibling.stamp)
        .or(remembered.map(|known| known.stamp));
    Ok(Transition {
        clock,
        version: stamp.map_or(0, version_at),
        existed: local.is_some_and(|local| !local.is_deleted(now_ms)),
        replayed: minted.replayed,
        state: minted.state,
    })
}

/// Merges what another replica knows into the local state.
pub(super) fn receive(
    vnode: &mut VnodeClock,
    hlc: &mut HlcClock,
    now_ms: u64,
    local: Option<&KeyState>,
    merge: &Merge,
) -> Result<Received, ReplicaError> {
    if let Some(stamp) = merge.state.max_stamp() {
        hlc.observe(stamp, now_ms)?;
    }
    let partition = merge.address.partition();
    let policy = merge.address.keyspace().conflict.into();
    let received = vnode.receive(local, incoming(merge), policy);
    received.map_err(|error| ReplicaError::VnodeUnsound { partition, error })
}

fn incoming(merge: &Merge) -> KeyState {
    #[cfg(feature = "simulation")]
    if mistake::is_made(Mistake::MergeForgetsExpiry) {
        return merge.state.clone().without_expiry();
    }
    merge.state.clone()
}

/// A tick whose logical counter a version can show. Ticks pass over the others; that is at most
/// 61,440 steps, only once for 4,096 writes, and only while the wall clock stands behind.
fn tick(hlc: &mut HlcClock, now_ms: u64, above: Option<HlcStamp>) -> Result<HlcStamp, HlcError> {
    let mut stamp = hlc.tick(now_ms, above)?;
    while stamp.logical() > LOGICAL_MAX {
        stamp = hlc.tick(now_ms, None)?;
    }
    Ok(stamp)
}

fn new_write(write: &Write, stamp: HlcStamp) -> NewWrite {
    let ttl = write.ttl.or(write.address.keyspace().default_ttl);
    let (content, ttl) = match &write.content {
        Some(value) => (Content::Value(value.clone()), ttl),
        None => (Content::Tombstone, None),
    };
    NewWrite {
        content,
        stamp,
        expires_at_ms: ttl.map(|ttl| stamp.ms().saturating_add(ttl.milliseconds())),
        request_id: write
            .request_id
            .filter(|_| !mistake::is_made(Mistake::RetryMintsAgain)),
    }
}

fn not_minted(partition: PartitionId, error: MintError) -> ReplicaError {
    match error {
        MintError::Epoch(error) => ReplicaError::VnodeUnsound { partition, error },
        error => ReplicaError::NotMinted(error),
    }
}
