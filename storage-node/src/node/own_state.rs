//! What others are told of this node by gossip.

use super::data::Data;
use crate::membership::{DiskState, OwnState};

/// Asked for with every round.
pub(super) fn own_state(data: &Data) -> OwnState {
    let overload = data.overload.clone();
    let replica = data.replica.clone();
    let hints = data.hints.clone();
    OwnState {
        generation: data.replica.generation(),
        requests_in_flight: Box::new(move || {
            u32::try_from(overload.requests_in_flight()).unwrap_or(u32::MAX)
        }),
        disk: Box::new(move || DiskState::of(replica.room(), replica.has_unsound())),
        hint_backlog_bytes: Box::new(move || hints.backlog_bytes()),
    }
}
