//! A simulated node's part in gossip, and what it says of itself.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::SimNode;
use crate::entropy::Randomness;
use crate::hints::Hints;
use crate::membership::{
    DiskState, GossipOptions, Membership, MembershipMetrics, MembershipParts, MembershipView,
    OwnState,
};
use crate::peer::Peers;
use crate::placement::PlacementStore;
use crate::replica::Replica;

impl SimNode {
    pub(super) fn membership(
        &self,
        (placement, replica, hints): (&PlacementStore, &Replica, &Hints),
        (peers, view, randomness): (Peers, MembershipView, Arc<dyn Randomness>),
    ) -> Membership {
        Membership::new(MembershipParts {
            options: GossipOptions::default(),
            placement: placement.clone(),
            peers,
            view,
            own: own_state(replica, hints.clone()),
            clock: self.clock.clone(),
            randomness,
            // They end by their deadlines, and nobody waits for them.
            tasks: TaskTracker::new(),
            metrics: MembershipMetrics::default(),
        })
    }
}

fn own_state(replica: &Replica, hints: Hints) -> OwnState {
    OwnState {
        generation: replica.generation(),
        requests_in_flight: Box::new(|| 0),
        disk: Box::new({
            let replica = replica.clone();
            move || DiskState::of(replica.room(), replica.has_unsound())
        }),
        hint_backlog_bytes: Box::new(move || hints.backlog_bytes()),
    }
}
