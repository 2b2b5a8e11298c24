//! The driver of writes and deletes: finds an owner that mints.
//!
//! | what an owner says | what follows |
//! |---|---|
//! | done | the answer |
//! | it was not asked, or refused for a reason of its own | the next owner |
//! | the request is at fault (`invalid_argument`, `conflict`, …) | the answer |
//! | it minted, and too few others took the write | the answer: `unknown` |
//! | nothing (lost) | the next owner, under the same request id; if that fails too: `unknown` |
//! | its placement is newer | all over again, under that |

use std::sync::Arc;

use annulus_causality::RequestId;
use annulus_proto::model::{ErrorCode, Outcome, RequestError};
use annulus_ring::{NodeIndex, Placement};
use tokio::time::Instant;

use super::request::{Delete, Deleted, Put, Written};
use super::{Coordinator, MAX_ROUNDS, RoundError, placement_keeps_changing, quorum_of};
use crate::keyspace::{ConflictPolicy, Keyspace};
use crate::peer::{ForwardedAnswer, ForwardedWrite, PeerFailure, Reachability};
use crate::replica::KeyAddress;

/// What is known of a write that has not succeeded yet.
#[derive(Debug, Default)]
struct Doubts {
    /// Some owner may have minted it.
    may_have_happened: bool,
    /// The first owner's refusal, which says most to the client.
    refusal: Option<RequestError>,
}

impl Doubts {
    fn refused(&mut self, error: RequestError) {
        self.refusal.get_or_insert(error);
    }

    /// An error that ends the write: `unknown` if any owner may have minted it.
    fn end(&self, error: RequestError) -> RequestError {
        let outcome = if self.may_have_happened {
            Outcome::Unknown
        } else {
            error.outcome
        };
        RequestError { outcome, ..error }
    }
}

impl Coordinator {
    /// Writes a key.
    pub(crate) async fn put(&self, put: Put) -> Result<Written, RequestError> {
        let keyspace = self.0.keyspaces.get(&put.keyspace)?.clone();
        check_sloppy(&keyspace, put.sloppy)?;
        let placement = self.0.placement.require()?;
        let write = ForwardedWrite {
            write_quorum: quorum_of("w", put.write.unwrap_or(keyspace.write), &placement)?,
            read_quorum: quorum_of("r", keyspace.read, &placement)?,
            keyspace: put.keyspace,
            key: put.key,
            value: Some(put.value),
            context: put.context,
            ttl: put.ttl,
            request_id: put.request_id.unwrap_or_else(|| self.draw_request_id()),
            sloppy: put.sloppy,
        };
        let answer = self.write(&write, put.deadline).await?;
        Ok(Written {
            clock: answer.clock,
            version: answer.version,
            sloppy: answer.sloppy,
        })
    }

    /// Deletes a key.
    pub(crate) async fn delete(&self, delete: Delete) -> Result<Deleted, RequestError> {
        let keyspace = self.0.keyspaces.get(&delete.keyspace)?.clone();
        check_sloppy(&keyspace, delete.sloppy)?;
        let placement = self.0.placement.require()?;
        let write = ForwardedWrite {
            write_quorum: quorum_of("w", delete.write.unwrap_or(keyspace.write), &placement)?,
            read_quorum: quorum_of("r", delete.read.unwrap_or(keyspace.read), &placement)?,
            keyspace: delete.keyspace,
            key: delete.key,
            value: None,
            context: delete.context.unwrap_or_default(),
            ttl: None,
            request_id: delete.request_id.unwrap_or_else(|| self.draw_request_id()),
            sloppy: delete.sloppy,
        };
        let answer = self.write(&write, delete.deadline).await?;
        Ok(Deleted {
            clock: answer.clock,
            existed: answer.existed,
            sloppy: answer.sloppy,
        })
    }

    /// A write of another node's client, here because this node owns the key.
    pub(crate) async fn write_for_peer(
        &self,
        write: ForwardedWrite,
        deadline: Instant,
    ) -> Result<ForwardedAnswer, RequestError> {
        let keyspace = self.0.keyspaces.get(&write.keyspace)?.clone();
        check_sloppy(&keyspace, write.sloppy)?;
        for _ in 0..MAX_ROUNDS {
            let placement = self.0.placement.require()?;
            let address = KeyAddress::of(&placement, keyspace.clone(), write.key.clone());
            match self
                .write_as_owner(&placement, &address, &write, deadline)
                .await
            {
                Ok(answer) => return Ok(answer),
                Err(RoundError::Failed(error)) => return Err(error),
                Err(RoundError::Stale(epoch)) => self.await_placement(epoch, deadline).await,
            }
        }
        Err(placement_keeps_changing())
    }

    async fn write(
        &self,
        write: &ForwardedWrite,
        deadline: Instant,
    ) -> Result<ForwardedAnswer, RequestError> {
        let keyspace = self.0.keyspaces.get(&write.keyspace)?.clone();
        let mut doubts = Doubts::default();
        for _ in 0..MAX_ROUNDS {
            let placement = self
                .0
                .placement
                .require()
                .map_err(|error| doubts.end(error))?;
            let address = KeyAddress::of(&placement, keyspace.clone(), write.key.clone());
            match self
                .try_owners(&placement, &address, write, deadline, &mut doubts)
                .await
            {
                Ok(answer) => return Ok(answer),
                Err(RoundError::Failed(error)) => return Err(doubts.end(error)),
                Err(RoundError::Stale(epoch)) => self.await_placement(epoch, deadline).await,
            }
        }
        Err(doubts.end(placement_keeps_changing()))
    }

    async fn try_owners(
        &self,
        placement: &Arc<Placement>,
        address: &KeyAddress,
        write: &ForwardedWrite,
        deadline: Instant,
        doubts: &mut Doubts,
    ) -> Result<ForwardedAnswer, RoundError> {
        let candidates = self.up(placement, self.minting_order(placement, address));
        for (place, owner) in candidates.iter().enumerate() {
            let left = deadline.saturating_duration_since(self.0.clock.now());
            if left.is_zero() {
                break;
            }
            if self.is_self(placement, *owner) {
                match self
                    .write_as_owner(placement, address, write, deadline)
                    .await
                {
                    Err(RoundError::Failed(error)) if helps_elsewhere(&error) => {
                        doubts.refused(error);
                    }
                    ended => return ended,
                }
                continue;
            }
            // An owner that hangs must leave time for the next.
            let is_last = place + 1 == candidates.len();
            let attempt = if is_last {
                deadline
            } else {
                deadline - left / 2
            };
            if let Some(answer) = self
                .forward(placement, *owner, write, attempt, doubts)
                .await?
            {
                return Ok(answer);
            }
        }
        let owners = placement.owners(address.partition()).len();
        Err(self.no_owner(owners, deadline, doubts).into())
    }

    /// The owners in the order in which they are tried.
    ///
    /// Where the last writer wins, all coordinators prefer the same owner, at the price of a hop. Two
    /// owners may stamp writes that follow each other within a millisecond, or within the difference of
    /// their clocks, the wrong way round, when the first write has not reached the second owner yet: the
    /// later one would be acknowledged, and lose. One owner's stamps only grow.
    fn minting_order(&self, placement: &Placement, address: &KeyAddress) -> Vec<NodeIndex> {
        if address.keyspace().conflict == ConflictPolicy::Siblings {
            return self.by_preference(placement, address);
        }
        let mut owners = placement.owners(address.partition()).to_vec();
        owners.sort_by_cached_key(|owner| {
            let node = placement.node(*owner).id;
            if self.is_self(placement, *owner) {
                return 0;
            }
            match self.0.peers.reachability(node) {
                Reachability::Connected => 0,
                Reachability::Connecting => 1,
                Reachability::Unreachable => 2,
            }
        });
        owners
    }

    /// Tries one other owner; `None`: go on with the next.
    async fn forward(
        &self,
        placement: &Arc<Placement>,
        owner: NodeIndex,
        write: &ForwardedWrite,
        deadline: Instant,
        doubts: &mut Doubts,
    ) -> Result<Option<ForwardedAnswer>, RoundError> {
        self.0.metrics.forwarded_writes.inc();
        let (node, epoch) = (placement.node(owner).id, placement.epoch());
        match self.0.peers.write(node, epoch, write, deadline).await {
            Ok(answer) => Ok(Some(answer)),
            Err(PeerFailure::Stale(epoch)) => Err(RoundError::Stale(epoch)),
            Err(PeerFailure::Refused(error)) if helps_elsewhere(&error) => {
                doubts.refused(error);
                Ok(None)
            }
            Err(PeerFailure::Refused(error)) => Err(error.into()),
            Err(PeerFailure::Lost(_)) => {
                doubts.may_have_happened = true;
                Ok(None)
            }
            Err(PeerFailure::NotSent(_) | PeerFailure::Behind(_)) => Ok(None),
        }
    }

    fn no_owner(&self, owners: usize, deadline: Instant, doubts: &mut Doubts) -> RequestError {
        if let Some(refusal) = doubts.refusal.take() {
            return refusal;
        }
        if self.0.clock.now() >= deadline {
            return RequestError::rejected(ErrorCode::Timeout, "no owner answered in time");
        }
        let what = if doubts.may_have_happened {
            "answered"
        } else {
            "can be reached"
        };
        let message = format!("none of the key's {owners} owners {what}");
        RequestError::rejected(ErrorCode::QuorumUnavailable, message)
    }

    /// Client 0 stands for no client on the wire.
    fn draw_request_id(&self) -> RequestId {
        let randomness = &self.0.randomness;
        RequestId {
            client: randomness.u64() | 1,
            sequence: randomness.u64(),
        }
    }
}

/// Sloppy writes give up freshness: both the keyspace's rules and the request must want that.
fn check_sloppy(keyspace: &Keyspace, sloppy: bool) -> Result<(), RequestError> {
    if !sloppy || keyspace.allow_sloppy {
        return Ok(());
    }
    let message = format!("sloppy: keyspace {} does not allow it", keyspace.name);
    Err(RequestError::rejected(ErrorCode::InvalidArgument, message))
}

/// Whether nothing happened for a reason that another owner may not have.
fn helps_elsewhere(error: &RequestError) -> bool {
    error.outcome == Outcome::Rejected
        && matches!(
            error.code,
            ErrorCode::Overloaded
                | ErrorCode::QuorumUnavailable
                | ErrorCode::Timeout
                | ErrorCode::DiskFull
                | ErrorCode::Unavailable
                | ErrorCode::StaleEpoch
                | ErrorCode::Behind
                | ErrorCode::Internal
        )
}
