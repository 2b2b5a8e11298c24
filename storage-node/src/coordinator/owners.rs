//! One owner, here or elsewhere; in which order owners are asked.

use std::time::Duration;

use annulus_causality::KeyState;
use annulus_proto::model::{ErrorCode, Outcome, RequestError};
use annulus_proto::peer::v1::MergeReason;
use annulus_ring::{NodeIndex, OwnerSet, Placement, RingEpoch};
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::Coordinator;
use super::quorum::Tally;
use crate::membership::Liveness;
use crate::mistake::{self, Mistake};
use crate::peer::{PeerFailure, Reachability};
use crate::replica::{KeyAddress, Merge, ReplicaError};

/// Why an owner did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OwnerFailure {
    /// It acts under a newer placement, of this epoch.
    Stale(RingEpoch),
    /// It failed; the error says whether anything may have happened.
    Failed(RequestError),
}

impl OwnerFailure {
    /// What this node's own replica said under a placement that makes it an owner. When it says that it
    /// is none, a newer placement is just being installed.
    pub(super) fn of_own(error: ReplicaError, placement: &Placement) -> Self {
        match error {
            ReplicaError::StaleEpoch { fence, .. } => Self::Stale(fence),
            ReplicaError::NotOwner { .. } => Self::Stale(RingEpoch(placement.epoch().0 + 1)),
            other => Self::Failed(other.into()),
        }
    }
}

impl From<PeerFailure> for OwnerFailure {
    fn from(failure: PeerFailure) -> Self {
        let message = failure.to_string();
        Self::Failed(match failure {
            PeerFailure::Stale(epoch) => return Self::Stale(epoch),
            PeerFailure::Refused(error) => error,
            PeerFailure::Lost(_) => RequestError::unknown(ErrorCode::Unavailable, message),
            PeerFailure::NotSent(_) | PeerFailure::Behind(_) => {
                RequestError::rejected(ErrorCode::Unavailable, message)
            }
        })
    }
}

impl Coordinator {
    /// The owners of a partition, best first: this node, then those that are connected and not suspected,
    /// the quickest first, then the others; those that are down come last.
    pub(super) fn by_preference(
        &self,
        placement: &Placement,
        address: &KeyAddress,
    ) -> Vec<NodeIndex> {
        let mut owners = placement.owners(address.partition()).to_vec();
        owners.sort_by_cached_key(|owner| {
            let node = placement.node(*owner).id;
            if node == self.0.placement.node() {
                let is_slow = self.0.disks.own().is_slow;
                return (Liveness::Alive, false, is_slow, 0, Duration::ZERO);
            }
            let liveness = self.0.membership.liveness(node);
            let distance = match self.0.peers.reachability(node) {
                Reachability::Connected => 1,
                Reachability::Connecting => 2,
                Reachability::Unreachable => 3,
            };
            let is_unreachable = distance == 3;
            let is_slow = self.0.disks.is_slow(node);
            let latency = self.0.peers.usual_latency(node);
            (liveness, is_unreachable, is_slow, distance, latency)
        });
        if mistake::is_made(Mistake::MintOnNonOwner) {
            let own = self.0.placement.own_index(placement);
            owners.retain(|owner| Some(*owner) != own);
            if let Some(own) = own {
                owners.insert(0, own);
            }
        }
        owners
    }

    /// Those that are not believed to be down, in the same order.
    pub(super) fn up(&self, placement: &Placement, owners: Vec<NodeIndex>) -> Vec<NodeIndex> {
        let mut owners = owners;
        owners.retain(|owner| !self.is_down(placement, *owner));
        owners
    }

    pub(super) fn is_down(&self, placement: &Placement, owner: NodeIndex) -> bool {
        self.0.membership.is_down(placement.node(owner).id)
    }

    /// How many owners have to take part. Their number is the placement's, whoever is down.
    pub(super) fn needed(
        &self,
        placement: &Placement,
        address: &KeyAddress,
        asked: usize,
    ) -> usize {
        if mistake::is_made(Mistake::GossipEvicts) {
            let owners = placement.owners(address.partition()).to_vec();
            return asked.min(self.up(placement, owners).len()).max(1);
        }
        asked
    }

    /// Counts a write: so many acks of each set of owners that it needs, or all of one that is smaller.
    pub(super) fn write_tally(
        &self,
        placement: &Placement,
        address: &KeyAddress,
        asked: usize,
    ) -> Tally {
        let mut needed = self.needed(placement, address, asked);
        if mistake::is_made(Mistake::OneAckTooFew) {
            needed = needed.saturating_sub(1).max(1);
        }
        let mut sets = placement.write_sets(address.partition());
        if mistake::is_made(Mistake::NoJointQuorum) {
            sets.second = None;
        }
        Tally::new(sets.iter().map(OwnerSet::iter), needed)
    }

    pub(super) fn is_self(&self, placement: &Placement, owner: NodeIndex) -> bool {
        placement.node(owner).id == self.0.placement.node()
    }

    /// An owner's state of a key.
    pub(super) async fn read_state(
        &self,
        placement: &Placement,
        owner: NodeIndex,
        address: &KeyAddress,
        deadline: Instant,
    ) -> Result<Option<KeyState>, OwnerFailure> {
        if self.is_self(placement, owner) {
            let state = in_time(deadline, self.0.replica.read(address)).await?;
            return self.still_own(placement, address, state);
        }
        let (node, epoch) = (placement.node(owner).id, placement.epoch());
        let key = (&address.keyspace().name, address.key());
        Ok(self.0.peers.read(node, epoch, key, deadline).await?)
    }

    /// The digest of an owner's state of a key.
    pub(super) async fn read_digest(
        &self,
        placement: &Placement,
        owner: NodeIndex,
        address: &KeyAddress,
        deadline: Instant,
    ) -> Result<Option<u64>, OwnerFailure> {
        if self.is_self(placement, owner) {
            let digest = in_time(deadline, self.0.replica.digest(address)).await?;
            return self.still_own(placement, address, digest);
        }
        let (node, epoch) = (placement.node(owner).id, placement.epoch());
        let key = (&address.keyspace().name, address.key());
        Ok(self.0.peers.digest(node, epoch, key, deadline).await?)
    }

    /// What this node's replica has read, if that counts under the placement under which it was asked for.
    fn still_own<T>(
        &self,
        placement: &Placement,
        address: &KeyAddress,
        read: Result<T, ReplicaError>,
    ) -> Result<T, OwnerFailure> {
        let (partition, epoch) = (address.partition(), placement.epoch());
        let counts = || self.0.replica.check_fence(partition, epoch);
        let read = read.and_then(|read| counts().map(|()| read));
        read.map_err(|error| OwnerFailure::of_own(error, placement))
    }

    /// Merges a state into an owner's. It holds the state, as durable as the keyspace asks for, once
    /// this succeeds.
    pub(super) async fn merge_into(
        &self,
        placement: &Placement,
        owner: NodeIndex,
        address: &KeyAddress,
        state: &SharedState,
        reason: MergeReason,
        deadline: Instant,
    ) -> Result<(), OwnerFailure> {
        if self.is_self(placement, owner) {
            let merge = Merge {
                address: address.clone(),
                state: state.state.clone(),
                deadline,
                fence: placement.epoch(),
            };
            let merged = self.0.replica.merge(merge).await;
            return merged
                .map(|_| ())
                .map_err(|error| OwnerFailure::of_own(error, placement));
        }
        let (node, epoch) = (placement.node(owner).id, placement.epoch());
        let key = (&address.keyspace().name, address.key());
        let merged = self
            .0
            .peers
            .merge(node, epoch, key, state.encoded.clone(), reason, deadline)
            .await;
        Ok(merged?)
    }
}

/// A state and its encoding, which all owners are sent.
#[derive(Debug, Clone)]
pub(super) struct SharedState {
    pub(super) state: KeyState,
    pub(super) encoded: Bytes,
}

async fn in_time<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, OwnerFailure> {
    timeout_at(deadline, work).await.map_err(|_| {
        let message = "this node's replica did not read within the deadline";
        OwnerFailure::Failed(RequestError::rejected(ErrorCode::Timeout, message))
    })
}

/// What is said of a quorum that can't be reached because of owners that are down.
pub(super) fn are_up(down: usize, owners: usize) -> String {
    format!("can be asked: {down} of the key's {owners} owners are down")
}

/// The error of a request for which too few owners could do their part.
pub(super) fn too_few(
    what: &str,
    done: usize,
    needed: usize,
    last: Option<&RequestError>,
    outcome: Outcome,
) -> RequestError {
    let why = last.map_or_else(String::new, |last| format!("; the last failure: {last}"));
    let message = format!("{done} of the {needed} replicas asked for {what}{why}");
    let code = match last.map(|last| last.code) {
        // All owners suffer from the same: say so.
        Some(code @ (ErrorCode::Overloaded | ErrorCode::DiskFull)) if done == 0 => code,
        // An owner may see the deadline pass a moment before this node does.
        Some(ErrorCode::Timeout) => ErrorCode::Timeout,
        _ => ErrorCode::QuorumUnavailable,
    };
    let retry_after = last.and_then(|last| last.retry_after);
    RequestError {
        code,
        outcome,
        retry_after,
        ..RequestError::rejected(code, message)
    }
}
