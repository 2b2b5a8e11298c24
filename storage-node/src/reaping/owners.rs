//! One owner's part of reclaiming, here or elsewhere.

use annulus_causality::{KeyState, VnodeId};
use annulus_proto::peer::v1::MergeReason;
use annulus_ring::{NodeId, PartitionId, Placement};
use futures::future::join_all;
use tokio::time::Instant;

use super::phases::OwnerAnswer;
use super::reaper::Reaper;
use super::tally::{Blocked, Reason};
use crate::coordinator::merge_replies;
use crate::peer::{NamedTombstone, PeerFailure, Reachability};
use crate::replica::{
    KeyAddress, Merge, Reclaim, ReclaimStep, ReplicaError, TombstoneFound, TombstonesFound,
};

impl Reaper {
    /// The owners of a partition, by the preference list.
    pub(super) fn owners_of(placement: &Placement, partition: PartitionId) -> Vec<NodeId> {
        let owners = placement.owners(partition).iter();
        owners.map(|owner| placement.node(*owner).id).collect()
    }

    /// Whether it is worth while to ask a node.
    pub(super) fn is_live(&self, node: NodeId) -> bool {
        let parts = &self.parts;
        node == parts.placement.node()
            || (!parts.membership.is_down(node)
                && parts.peers.reachability(node) != Reachability::Unreachable)
    }

    /// Phase 1, at all owners at once.
    pub(super) async fn ask_all(
        &self,
        placement: &Placement,
        owners: &[NodeId],
        tombstones: &[NamedTombstone],
    ) -> Vec<OwnerAnswer> {
        let deadline = self.deadline();
        let ask = |owner: &NodeId| {
            let owner = *owner;
            async move {
                let answer = if owner == self.parts.placement.node() {
                    let step = |digest| ReclaimStep::Confirm { digest };
                    self.here(placement, tombstones, step, deadline).await
                } else {
                    let peers = &self.parts.peers;
                    peers
                        .confirm_tombstones(owner, placement.epoch(), tombstones, deadline)
                        .await
                        .map_err(|failure| reason_of(&failure))
                };
                (owner, answer)
            }
        };
        join_all(owners.iter().map(ask)).await
    }

    /// Phase 2, at one owner. What is not removed there is found again by a later scan.
    pub(super) async fn remove_at(
        &self,
        placement: &Placement,
        (owner, vnode): (NodeId, VnodeId),
        tombstones: &[NamedTombstone],
    ) -> Result<Vec<TombstoneFound>, Reason> {
        let deadline = self.deadline();
        let removed = if owner == self.parts.placement.node() {
            let step = |digest| ReclaimStep::Remove { digest, vnode };
            self.here(placement, tombstones, step, deadline).await?
        } else {
            let peers = &self.parts.peers;
            peers
                .remove_tombstones(owner, placement.epoch(), (vnode, tombstones), deadline)
                .await
                .map_err(|failure| reason_of(&failure))?
        };
        Ok(removed.found)
    }

    /// Rule T5: no member keeps an acknowledged write for an owner of the partition.
    pub(super) async fn hints_delivered(
        &self,
        placement: &Placement,
        partition: PartitionId,
    ) -> Result<(), Blocked> {
        let deadline = self.deadline();
        let members = placement.nodes().iter().map(|node| node.id);
        let asked = members.map(|node| async move {
            let undelivered = if node == self.parts.placement.node() {
                Ok(self.parts.hints.undelivered_sloppy(partition))
            } else {
                let peers = &self.parts.peers;
                peers
                    .count_hints(node, placement.epoch(), partition, deadline)
                    .await
            };
            let reason = match undelivered {
                Ok(0) => return Ok(()),
                Ok(_) => Reason::HintsUndelivered,
                Err(failure) => match reason_of(&failure) {
                    Reason::OwnerDown => Reason::MemberDown,
                    other => other,
                },
            };
            let node = Some(node);
            Err(Blocked { reason, node })
        });
        join_all(asked).await.into_iter().collect()
    }

    /// Brings the owners' copies of a deleted key together, so that a later scan finds them equal. Copies that
    /// have a value are left to the other repairs.
    pub(super) async fn mend(
        &self,
        placement: &Placement,
        owners: &[NodeId],
        address: &KeyAddress,
    ) {
        let deadline = self.deadline();
        let reads = owners
            .iter()
            .map(|owner| self.read_at(placement, *owner, address, deadline));
        let mut copies = Vec::with_capacity(owners.len());
        for (owner, copy) in owners.iter().zip(join_all(reads).await) {
            let Some(copy) = copy else {
                return; // without one copy the others can't be judged
            };
            copies.push((*owner, copy));
        }
        let states = copies.iter().map(|(_, copy)| copy.as_ref());
        let policy = address.keyspace().conflict.into();
        let merged = merge_replies(states, policy);
        let Some(merged) = merged.filter(|merged| merged.ended_at_ms().is_some()) else {
            return;
        };
        let different = copies
            .iter()
            .filter(|(_, copy)| copy.as_ref() != Some(&merged));
        let merges = different
            .map(|(owner, _)| self.merge_at(placement, *owner, address, &merged, deadline));
        join_all(merges).await;
    }

    async fn here(
        &self,
        placement: &Placement,
        tombstones: &[NamedTombstone],
        step: impl Fn(u128) -> ReclaimStep,
        deadline: Instant,
    ) -> Result<TombstonesFound, Reason> {
        let mut steps = Vec::with_capacity(tombstones.len());
        for named in tombstones {
            let keyspace = self.parts.keyspaces.get(&named.keyspace);
            let keyspace = keyspace.map_err(|_| Reason::OwnerFailed)?.clone();
            steps.push(Reclaim {
                address: KeyAddress::of(placement, keyspace, named.key.clone()),
                step: step(named.digest),
                deadline,
                fence: placement.epoch(),
            });
        }
        let done = self.parts.replica.reclaim_all(steps).await;
        done.map_err(|error| match error {
            ReplicaError::StaleEpoch { .. } | ReplicaError::NotOwner { .. } => {
                Reason::PlacementChanging
            }
            _ => Reason::OwnerFailed,
        })
    }

    /// `None`: it can't be read. The inner `None`: there is no record.
    async fn read_at(
        &self,
        placement: &Placement,
        owner: NodeId,
        address: &KeyAddress,
        deadline: Instant,
    ) -> Option<Option<KeyState>> {
        if owner == self.parts.placement.node() {
            return self.parts.replica.read(address).await.ok();
        }
        let key = (&address.keyspace().name, address.key());
        let read = self
            .parts
            .peers
            .read(owner, placement.epoch(), key, deadline);
        read.await.ok()
    }

    /// What fails here is found again by a later scan.
    async fn merge_at(
        &self,
        placement: &Placement,
        owner: NodeId,
        address: &KeyAddress,
        state: &KeyState,
        deadline: Instant,
    ) {
        let epoch = placement.epoch();
        if owner == self.parts.placement.node() {
            let merge = Merge {
                address: address.clone(),
                state: state.clone(),
                deadline,
                fence: epoch,
            };
            if let Err(error) = self.parts.replica.merge(merge).await {
                tracing::debug!(%error, "a tombstone was not completed here");
            }
            return;
        }
        let key = (&address.keyspace().name, address.key());
        let reason = MergeReason::Reap;
        let peers = &self.parts.peers;
        let merged = peers
            .merge(owner, epoch, key, state.encode(), reason, deadline)
            .await;
        if let Err(error) = merged {
            tracing::debug!(%owner, %error, "a tombstone was not completed");
        }
    }
}

fn reason_of(failure: &PeerFailure) -> Reason {
    match failure {
        PeerFailure::NotSent(_) | PeerFailure::Lost(_) => Reason::OwnerDown,
        PeerFailure::Refused(_) => Reason::OwnerFailed,
        PeerFailure::Stale(_) | PeerFailure::Behind(_) => Reason::PlacementChanging,
    }
}
