//! What others are told of this node by gossip.

use super::data::Data;
use crate::config::Config;
use crate::membership::{DiskState, OwnState};
use crate::telemetry::{DiskSpace, disk_space};

/// Asked for with every round.
pub(super) fn own_state(config: &Config, data: &Data) -> OwnState {
    let overload = data.overload.clone();
    let data_dir = config.data_dir.clone();
    let hints = data.hints.clone();
    OwnState {
        generation: data.replica.generation(),
        requests_in_flight: Box::new(move || {
            u32::try_from(overload.requests_in_flight()).unwrap_or(u32::MAX)
        }),
        disk: Box::new(move || {
            // A disk that can't be asked is taken for roomy: its writes will tell.
            disk_space(&data_dir).map_or(DiskState::Ok, DiskSpace::state)
        }),
        hint_backlog_bytes: Box::new(move || hints.backlog_bytes()),
    }
}
