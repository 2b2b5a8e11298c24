//! Whether a request of a peer may be served under the placement that this node holds, before and after.

use std::sync::Arc;

use annulus_proto::model::{ErrorCode, FieldRefused, RequestError};
use annulus_proto::peer::v1::{KeyRef, PeerError, Tombstone, request};
use annulus_ring::{MoveId, PartitionId, Placement, RingEpoch};

use super::super::wire;
use super::{Responder, refused};
use crate::placement::InUse;

/// Under which epoch and in which session a request was made, and about which partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    epoch: RingEpoch,
    partition: Option<PartitionId>,
    session: Option<MoveId>,
}

/// The move that a request belongs to; none, if the text is empty.
pub(super) fn read_session(session: &str) -> Result<Option<MoveId>, Box<PeerError>> {
    if session.is_empty() {
        return Ok(None);
    }
    let id = session.parse::<MoveId>();
    let id = id.map_err(|error| refused(FieldRefused::invalid("session", error.to_string())))?;
    Ok(Some(id))
}

impl Responder {
    /// The placement in use, if it admits the request.
    pub(super) fn admit(
        &self,
        body: &request::Body,
        epoch: RingEpoch,
        session: Option<MoveId>,
    ) -> Result<(Arc<Placement>, Stamp), Box<PeerError>> {
        let held = self.placement().in_use();
        let held_epoch = held
            .as_ref()
            .map_or(RingEpoch(0), |held| held.placement.epoch());
        let Some(held) = held.filter(|_| held_epoch >= epoch) else {
            let message = format!("this node holds placement epoch {held_epoch}, not yet {epoch}");
            return Err(epoch_error(ErrorCode::Behind, message, held_epoch));
        };
        let stamp = Stamp {
            epoch,
            partition: partition_of(body, &held.placement),
            session,
        };
        check(&held, stamp)?;
        Ok((held.placement.clone(), stamp))
    }

    /// Whether the answer still counts.
    pub(super) fn still_admits(&self, stamp: Stamp) -> Result<(), Box<PeerError>> {
        match self.placement().in_use() {
            Some(held) => check(&held, stamp),
            None => Ok(()), // a placement never goes; this one was never there
        }
    }

    /// Whether what leaves now for a copy that is being made holds all that the old owners alone were sent.
    #[cfg(feature = "simulation")]
    pub(crate) fn gives_rightly(&self, request: &annulus_proto::peer::v1::Request) -> bool {
        let Some(request::Body::ScanStates(scan)) = &request.body else {
            return true;
        };
        let partition = u16::try_from(scan.partition).map(PartitionId);
        let held = self.placement().current();
        let since = held.zip(partition.ok()).and_then(|(held, partition)| {
            let it = held.move_of(partition)?;
            Some(it.since)
        });
        let acked = self.placement().acked();
        request.session.is_empty() || since.is_none_or(|since| acked >= since)
    }

    /// Whether an answer that leaves now is one that the placement in use admits.
    #[cfg(feature = "simulation")]
    pub(crate) fn answers_rightly(&self, request: &annulus_proto::peer::v1::Request) -> bool {
        let epoch = RingEpoch(request.epoch);
        let Some(body) = &request.body else {
            return true;
        };
        let held = self.placement().in_use();
        held.is_some_and(|held| {
            held.placement.epoch() >= epoch
                && held.admits(epoch, partition_of(body, &held.placement))
        })
    }
}

fn check(held: &InUse, stamp: Stamp) -> Result<(), Box<PeerError>> {
    let held_epoch = held.placement.epoch();
    if !held.admits(stamp.epoch, stamp.partition) {
        let epoch = stamp.epoch;
        let message = format!("placement epoch {epoch} is old, this node holds {held_epoch}");
        return Err(epoch_error(ErrorCode::StaleEpoch, message, held_epoch));
    }
    if let Some(session) = stamp.session {
        let open = held.placement.move_of(session.partition);
        let is_open = open.is_some_and(|open| open.id == session);
        if !is_open || stamp.partition != Some(session.partition) {
            let message = format!("move {session} is over, or about another partition");
            let over = RequestError::rejected(ErrorCode::Conflict, message);
            return Err(Box::new(wire::peer_error(&over)));
        }
    }
    Ok(())
}

fn epoch_error(code: ErrorCode, message: String, held: RingEpoch) -> Box<PeerError> {
    let error = wire::peer_error(&RequestError::unknown(code, message));
    Box::new(PeerError {
        callee_epoch: held.0,
        ..error
    })
}

/// The partition that a request is about; none, if it is about the node, or about keys that are judged one by one.
fn partition_of(body: &request::Body, placement: &Placement) -> Option<PartitionId> {
    let of_key = |key: &Option<KeyRef>| {
        let key = key.as_ref()?;
        Some(placement.locate(&key.keyspace, &key.key).0)
    };
    let first = |tombstones: &[Tombstone]| of_key(&tombstones.first()?.key);
    let numbered = |number: u32| u16::try_from(number).ok().map(PartitionId);
    match body {
        request::Body::Read(read) => of_key(&read.key),
        request::Body::Digest(read) => of_key(&read.key),
        request::Body::Merge(merge) => of_key(&merge.key),
        request::Body::Write(write) => of_key(&write.key),
        request::Body::KeepSloppy(kept) => of_key(&kept.key),
        request::Body::ConfirmTombstones(confirm) => first(&confirm.tombstones),
        request::Body::RemoveTombstones(remove) => first(&remove.tombstones),
        request::Body::CountHints(count) => numbered(count.partition),
        request::Body::ReadTree(read) => numbered(read.partition),
        request::Body::ReadLeaves(read) => numbered(read.partition),
        request::Body::ScanStates(scan) => numbered(scan.partition),
        request::Body::DeliverHints(_)
        | request::Body::HintCredit(_)
        | request::Body::SloppyRoom(_)
        | request::Body::AskDisk(_)
        | request::Body::InstallPlacement(_)
        | request::Body::Gossip(_)
        | request::Body::Reach(_) => None,
    }
}
