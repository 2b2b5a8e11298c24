//! What owners ask of each other to reclaim deleted keys, and the answers (`docs/protocol/deletes.md`).
//!
//! Invariant: at most [`MAX_TOMBSTONES`] keys a request, so that reclaiming never holds up anything for long.
//!
//! Leaves to others: when to ask (`reaping`), the answers' truth (`replica`).

use annulus_causality::VnodeId;
use annulus_proto::model::{FieldRefused, Key, KeyspaceName, RequestError};
use annulus_proto::peer::v1::{
    ConfirmTombstones, CountHints, CountHintsReply, RemoveTombstones, Tombstone,
    TombstoneFound as FoundCode, TombstonesReply, reply, request,
};
use annulus_ring::{NodeId, PartitionId, Placement, RingEpoch};
use bytes::Bytes;
use tokio::time::Instant;

use super::peers::{PeerFailure, Peers, unexpected};
use super::responder::Responder;
use super::wire;
use crate::replica::{Reclaim, ReclaimStep, TombstoneFound, TombstonesFound};

/// Keys of one request.
pub(crate) const MAX_TOMBSTONES: usize = 256;

/// A tombstone: a key, and the digest of all that an owner holds of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedTombstone {
    pub(crate) keyspace: KeyspaceName,
    pub(crate) key: Key,
    pub(crate) digest: u128,
}

impl Peers {
    /// Phase 1: whether the peer holds just these, on disk.
    pub(crate) async fn confirm_tombstones(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        tombstones: &[NamedTombstone],
        deadline: Instant,
    ) -> Result<TombstonesFound, PeerFailure> {
        let body = request::Body::ConfirmTombstones(ConfirmTombstones {
            tombstones: tombstones.iter().map(write_tombstone).collect(),
        });
        self.ask_about(to, epoch, body, tombstones.len(), deadline)
            .await
    }

    /// Phase 2: has the peer remove those that have not changed since that vnode confirmed them.
    pub(crate) async fn remove_tombstones(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        (vnode, tombstones): (VnodeId, &[NamedTombstone]),
        deadline: Instant,
    ) -> Result<TombstonesFound, PeerFailure> {
        let body = request::Body::RemoveTombstones(RemoveTombstones {
            vnode: vnode.0,
            tombstones: tombstones.iter().map(write_tombstone).collect(),
        });
        self.ask_about(to, epoch, body, tombstones.len(), deadline)
            .await
    }

    /// How many writes the peer keeps for a partition's owners.
    pub(crate) async fn count_hints(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        partition: PartitionId,
        deadline: Instant,
    ) -> Result<u64, PeerFailure> {
        let partition = partition.0.into();
        let body = request::Body::CountHints(CountHints { partition });
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::CountHints(reply) => Ok(reply.undelivered),
            other => Err(unexpected(to, &other)),
        }
    }

    async fn ask_about(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        body: request::Body,
        count: usize,
        deadline: Instant,
    ) -> Result<TombstonesFound, PeerFailure> {
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::Tombstones(reply) if reply.found.len() == count => Ok(read_reply(&reply)),
            reply::Body::Tombstones(reply) => Err(PeerFailure::Lost(format!(
                "node {to} answered for {} of {count} keys",
                reply.found.len()
            ))),
            other => Err(unexpected(to, &other)),
        }
    }
}

impl Responder {
    pub(super) async fn confirm_tombstones(
        &self,
        confirm: ConfirmTombstones,
        placement: (&Placement, RingEpoch),
        deadline: Instant,
    ) -> Result<reply::Body, RequestError> {
        let step = |digest| ReclaimStep::Confirm { digest };
        self.reclaim(confirm.tombstones, step, placement, deadline)
            .await
    }

    pub(super) async fn remove_tombstones(
        &self,
        remove: RemoveTombstones,
        placement: (&Placement, RingEpoch),
        deadline: Instant,
    ) -> Result<reply::Body, RequestError> {
        let vnode = VnodeId(remove.vnode);
        let step = |digest| ReclaimStep::Remove { digest, vnode };
        self.reclaim(remove.tombstones, step, placement, deadline)
            .await
    }

    pub(super) fn count_hints(&self, count: CountHints) -> Result<reply::Body, RequestError> {
        let partition = wire::read_partition(count.partition)?;
        let undelivered = self.hints().undelivered_sloppy(partition);
        Ok(reply::Body::CountHints(CountHintsReply { undelivered }))
    }

    async fn reclaim(
        &self,
        tombstones: Vec<Tombstone>,
        step: impl Fn(u128) -> ReclaimStep,
        (placement, epoch): (&Placement, RingEpoch),
        deadline: Instant,
    ) -> Result<reply::Body, RequestError> {
        if tombstones.len() > MAX_TOMBSTONES {
            let reason = format!("are {}, at most {MAX_TOMBSTONES}", tombstones.len());
            return Err(FieldRefused::invalid("tombstones", reason).into());
        }
        let mut steps = Vec::with_capacity(tombstones.len());
        for tombstone in tombstones {
            let address = self.address(tombstone.key, placement)?;
            let digest = read_digest(&tombstone.digest)?;
            steps.push(Reclaim {
                address,
                step: step(digest),
                deadline,
                fence: epoch,
            });
        }
        let found = self.0.replica.reclaim_all(steps).await?;
        Ok(reply::Body::Tombstones(write_reply(&found)))
    }
}

fn write_tombstone(named: &NamedTombstone) -> Tombstone {
    Tombstone {
        key: Some(wire::key_ref(&named.keyspace, &named.key)),
        digest: Bytes::copy_from_slice(&named.digest.to_le_bytes()),
    }
}

fn read_digest(bytes: &[u8]) -> Result<u128, FieldRefused> {
    let bytes = bytes
        .try_into()
        .map_err(|_| FieldRefused::invalid("digest", "must be 16 bytes"))?;
    Ok(u128::from_le_bytes(bytes))
}

fn write_reply(found: &TombstonesFound) -> TombstonesReply {
    let code = |found: &TombstoneFound| match found {
        TombstoneFound::Same => FoundCode::Same,
        TombstoneFound::Absent => FoundCode::Absent,
        TombstoneFound::Other => FoundCode::Other,
        TombstoneFound::Damaged => FoundCode::Damaged,
    };
    TombstonesReply {
        vnode: found.vnode.map_or(0, |vnode| vnode.0),
        found: found.found.iter().map(|found| code(found).into()).collect(),
    }
}

/// What this program does not know is not the same.
fn read_reply(reply: &TombstonesReply) -> TombstonesFound {
    let found = reply
        .found
        .iter()
        .map(|code| match FoundCode::try_from(*code) {
            Ok(FoundCode::Same) => TombstoneFound::Same,
            Ok(FoundCode::Absent) => TombstoneFound::Absent,
            Ok(FoundCode::Damaged) => TombstoneFound::Damaged,
            Ok(FoundCode::Other | FoundCode::Unspecified) | Err(_) => TombstoneFound::Other,
        });
    TombstonesFound {
        vnode: (reply.vnode != 0).then_some(VnodeId(reply.vnode)),
        found: found.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_survives_the_wire() {
        let found = TombstonesFound {
            vnode: Some(VnodeId(u64::MAX)),
            found: vec![
                TombstoneFound::Same,
                TombstoneFound::Absent,
                TombstoneFound::Other,
                TombstoneFound::Damaged,
            ],
        };
        assert_eq!(read_reply(&write_reply(&found)), found);
        assert_eq!(
            read_reply(&write_reply(&TombstonesFound::default())),
            TombstonesFound::default()
        );
    }

    #[test]
    fn an_answer_that_is_not_understood_is_not_the_same() {
        let reply = TombstonesReply {
            vnode: 1,
            found: vec![99, 0],
        };
        let found = read_reply(&reply).found;
        assert_eq!(found, [TombstoneFound::Other, TombstoneFound::Other]);
    }

    #[test]
    fn a_digest_survives_the_wire_and_nothing_else_passes_for_one() {
        let digest = u128::MAX - 5;
        let named = NamedTombstone {
            keyspace: KeyspaceName::kv(),
            key: Key::new("k").unwrap(),
            digest,
        };
        let sent = write_tombstone(&named).digest;
        assert_eq!(read_digest(&sent), Ok(digest));
        assert!(read_digest(&sent[1..]).is_err());
    }
}
