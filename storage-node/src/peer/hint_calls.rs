//! What may be asked of a peer about hints, and the callee's side of it: messages in and out.

use std::time::Duration;

use annulus_causality::{HlcStamp, KeyState};
use annulus_proto::model::{FieldRefused, RequestError};
use annulus_proto::peer::v1::{
    DeliverHints, DeliverHintsReply, Hint, HintCredit, HintCreditReply, HintOutcome, KeepSloppy,
    KeepSloppyReply, SloppyRoom, SloppyRoomReply, reply, request,
};
use annulus_ring::{NodeId, Placement, RingEpoch};
use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::peers::{PeerFailure, Peers, unexpected};
use super::responder::Responder;
use super::wire;
use crate::hints::{Grant, Handover, KeepFor, Taken};
use crate::replica::KeyAddress;

impl Peers {
    /// Asks leave to deliver hints of so many bytes.
    pub(crate) async fn hint_credit(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        bytes: u64,
        deadline: Instant,
    ) -> Result<Grant, PeerFailure> {
        let body = request::Body::HintCredit(HintCredit { bytes });
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::HintCredit(reply) if reply.wait_ms == 0 => Ok(Grant::Send),
            reply::Body::HintCredit(reply) => {
                Ok(Grant::Wait(Duration::from_millis(reply.wait_ms.into())))
            }
            other => Err(unexpected(to, &other)),
        }
    }

    /// Delivers hints; what became of each.
    pub(crate) async fn deliver_hints(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        hints: Vec<Handover>,
        deadline: Instant,
    ) -> Result<Vec<Taken>, PeerFailure> {
        let hints = hints.into_iter().map(write_handover).collect();
        let body = request::Body::DeliverHints(DeliverHints { hints });
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::DeliverHints(reply) => Ok(reply.outcomes().map(read_outcome).collect()),
            other => Err(unexpected(to, &other)),
        }
    }

    /// Whether a fallback would keep a sloppy write of so many bytes.
    pub(crate) async fn has_sloppy_room(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        bytes: usize,
        deadline: Instant,
    ) -> Result<bool, PeerFailure> {
        let bytes = bytes as u64;
        let body = request::Body::SloppyRoom(SloppyRoom { bytes });
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::SloppyRoom(reply) => Ok(reply.has_room),
            other => Err(unexpected(to, &other)),
        }
    }

    /// Has a fallback keep a write for an owner; it is on disk there once this succeeds.
    pub(crate) async fn keep_sloppy(
        &self,
        to: NodeId,
        epoch: RingEpoch,
        target: NodeId,
        (address, state): (&KeyAddress, Bytes),
        deadline: Instant,
    ) -> Result<(), PeerFailure> {
        let body = request::Body::KeepSloppy(KeepSloppy {
            key: Some(wire::key_ref(&address.keyspace().name, address.key())),
            state,
            target: Bytes::copy_from_slice(target.0.as_bytes()),
        });
        match self.ask(to, epoch, body, deadline).await? {
            reply::Body::KeepSloppy(_) => Ok(()),
            other => Err(unexpected(to, &other)),
        }
    }
}

impl Responder {
    pub(super) fn hint_credit(&self, asked: HintCredit) -> reply::Body {
        let wait_ms = match self.hints().ask_credit(asked.bytes) {
            Grant::Send => 0,
            Grant::Wait(wait) => u32::try_from(wire::milliseconds(wait))
                .unwrap_or(u32::MAX)
                .max(1),
        };
        reply::Body::HintCredit(HintCreditReply { wait_ms })
    }

    pub(super) async fn deliver_hints(
        &self,
        delivered: DeliverHints,
        placement: &Placement,
        deadline: Instant,
    ) -> Result<reply::Body, RequestError> {
        let hints = delivered.hints.into_iter().map(read_handover);
        let hints = hints.collect::<Result<_, _>>()?;
        let own = self.placement().own_index(placement);
        let taken = self.hints().take((placement, own), hints, deadline).await;
        let outcomes = taken.into_iter().map(|taken| write_outcome(taken).into());
        Ok(reply::Body::DeliverHints(DeliverHintsReply {
            outcomes: outcomes.collect(),
        }))
    }

    pub(super) fn sloppy_room(&self, asked: SloppyRoom) -> reply::Body {
        let bytes = usize::try_from(asked.bytes).unwrap_or(usize::MAX);
        let has_room = self.hints().has_sloppy_room(bytes);
        reply::Body::SloppyRoom(SloppyRoomReply { has_room })
    }

    pub(super) async fn keep_sloppy(
        &self,
        kept: KeepSloppy,
        placement: &Placement,
        deadline: Instant,
    ) -> Result<reply::Body, RequestError> {
        let address = self.address(kept.key, placement)?;
        if !address.keyspace().allow_sloppy {
            let reason = "does not allow sloppy writes on this node";
            return Err(FieldRefused::invalid("keyspace", reason).into());
        }
        let target = Uuid::from_slice(&kept.target)
            .map_err(|error| FieldRefused::invalid("target", error.to_string()))?;
        let state = KeyState::decode(&kept.state)
            .map_err(|error| FieldRefused::invalid("state", error.to_string()))?;
        let target = NodeId(target);
        let kept = KeepFor {
            target,
            address,
            state,
        };
        self.hints().keep_sloppy(kept, deadline).await?;
        Ok(reply::Body::KeepSloppy(KeepSloppyReply {}))
    }
}

fn write_handover(handover: Handover) -> Hint {
    Hint {
        key: Some(wire::key_ref(&handover.keyspace, &handover.key)),
        state: handover.state,
        written: handover.written.0,
        sloppy: handover.sloppy,
    }
}

fn read_handover(hint: Hint) -> Result<Handover, FieldRefused> {
    let (keyspace, key) = wire::read_key_ref(hint.key)?;
    Ok(Handover {
        keyspace,
        key,
        state: hint.state,
        written: HlcStamp(hint.written),
        sloppy: hint.sloppy,
    })
}

fn write_outcome(taken: Taken) -> HintOutcome {
    match taken {
        Taken::Applied => HintOutcome::Applied,
        Taken::Expired => HintOutcome::Expired,
        Taken::NotOwner => HintOutcome::NotOwner,
        Taken::Refused => HintOutcome::Refused,
        Taken::Failed => HintOutcome::Failed,
    }
}

fn read_outcome(outcome: HintOutcome) -> Taken {
    match outcome {
        HintOutcome::Applied => Taken::Applied,
        HintOutcome::Expired => Taken::Expired,
        HintOutcome::NotOwner => Taken::NotOwner,
        HintOutcome::Refused => Taken::Refused,
        HintOutcome::Failed | HintOutcome::Unspecified => Taken::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_survives_the_wire() {
        for taken in [
            Taken::Applied,
            Taken::Expired,
            Taken::NotOwner,
            Taken::Refused,
            Taken::Failed,
        ] {
            assert_eq!(read_outcome(write_outcome(taken)), taken);
        }
        assert_eq!(read_outcome(HintOutcome::Unspecified), Taken::Failed);
    }
}
