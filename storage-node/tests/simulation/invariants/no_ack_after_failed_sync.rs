//! I22: after a failed fsync no acknowledgement leaves the process: neither is data taken that came
//! afterwards, nor is anything said of what the disk holds.

use annulus_node::simulation::{Answered, Served};

use crate::broken::Broken;

pub(super) fn served(served: &Served) -> Result<(), Broken> {
    if !served.log_had_failed || !matches!(served.answer, Answered::Merged | Answered::Written) {
        return Ok(());
    }
    let what = format!(
        "{}'s log has failed, and it answers {:?}",
        served.node, served.answer
    );
    Err(Broken::new("I22 no ack after a failed sync", what))
}
