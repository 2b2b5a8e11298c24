//! The calls of gossip: answered under any epoch, so that nodes with different placements find together.

use std::time::Duration;

use annulus_proto::peer::v1::{Gossip, GossipReply, Reach, reply, request};
use annulus_ring::{NodeId, RingEpoch};
use bytes::Bytes;
use tokio::time::Instant;

use super::{PeerFailure, Peers, unexpected};
use crate::peer::transport::Call;
use crate::peer::wire;

impl Peers {
    /// Tells a peer what this node knows of all nodes. What it knows.
    pub(crate) async fn gossip(
        &self,
        to: NodeId,
        gossip: Gossip,
        deadline: Instant,
    ) -> Result<GossipReply, PeerFailure> {
        let body = request::Body::Gossip(gossip);
        match self
            .ask_once(to, self.under_own_epoch(body), deadline)
            .await?
        {
            reply::Body::Gossip(reply) => Ok(reply),
            other => Err(unexpected(to, &other)),
        }
    }

    /// Has a peer try to reach a target, which may be that peer. Whether it did.
    pub(crate) async fn reach_through(
        &self,
        helper: NodeId,
        target: NodeId,
        within: Duration,
        deadline: Instant,
    ) -> Result<bool, PeerFailure> {
        let body = request::Body::Reach(Reach {
            target: Bytes::copy_from_slice(target.0.as_bytes()),
            within_ms: u32::try_from(wire::milliseconds(within)).unwrap_or(u32::MAX),
        });
        let call = self.under_own_epoch(body);
        // Not through `ask_once`: how long a helper takes says nothing about the helper.
        match self.inner.transport.call(helper, call, deadline).await {
            Ok(reply::Body::Reach(reply)) => Ok(reply.reached),
            Ok(other) => Err(unexpected(helper, &other)),
            Err(error) => Err(PeerFailure::Lost(error.to_string())),
        }
    }

    /// Hands our placement to a peer that is known to hold an older one. Whether it has it now.
    pub(crate) async fn bring_up_to_date(&self, to: NodeId, deadline: Instant) -> bool {
        let asked_at = self.inner.clock.now();
        self.hand_over_placement(to, asked_at, deadline).await
    }

    fn under_own_epoch(&self, body: request::Body) -> Call {
        let held = self.inner.placement.current();
        let epoch = held.map_or(RingEpoch(0), |placement| placement.epoch());
        Call {
            epoch,
            session: None,
            body,
        }
    }
}
