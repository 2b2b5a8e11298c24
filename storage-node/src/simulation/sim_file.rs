//! The file in which a node keeps its placement: replaced whole, and on the platter at once.

use std::sync::Arc;

use annulus_ring::Placement;
use parking_lot::Mutex;

/// See the module. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct SimFile(Arc<Mutex<Option<Placement>>>);

impl SimFile {
    pub(crate) fn read(&self) -> Option<Placement> {
        self.0.lock().clone()
    }

    pub(crate) fn write(&self, placement: &Placement) {
        *self.0.lock() = Some(placement.clone());
    }
}
