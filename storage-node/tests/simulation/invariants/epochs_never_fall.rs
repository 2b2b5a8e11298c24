//! I25: a node never accepts a lower epoch than it held, and I16: never two placements of one epoch.

use std::collections::HashMap;

use annulus_ring::{NodeId, RingEpoch};

use crate::broken::Broken;

#[derive(Debug, Default)]
pub(super) struct EpochsNeverFall {
    held: HashMap<NodeId, RingEpoch>,
    fingerprints: HashMap<RingEpoch, u64>,
}

impl EpochsNeverFall {
    /// A node was seen with a placement of that epoch.
    pub(super) fn holds(&mut self, node: NodeId, epoch: RingEpoch) -> Result<(), Broken> {
        let held = self.held.entry(node).or_insert(epoch);
        if epoch < *held {
            let what = format!("{node} holds epoch {epoch}, and held {held}");
            return Err(Broken::new("I25 epochs never fall", what));
        }
        *held = epoch;
        Ok(())
    }

    /// Its placement of that epoch has that fingerprint.
    pub(super) fn knows(&mut self, epoch: RingEpoch, fingerprint: u64) -> Result<(), Broken> {
        let first = self.fingerprints.entry(epoch).or_insert(fingerprint);
        if *first != fingerprint {
            let what = format!("epoch {epoch} is {first:x} and {fingerprint:x}");
            return Err(Broken::new("I16 one placement an epoch", what));
        }
        Ok(())
    }
}
