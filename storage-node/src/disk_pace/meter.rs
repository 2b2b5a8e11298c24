//! Measures this node's disk. Cheap to clone; all clones are one.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::DiskPace;
use super::window::Window;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct DiskMeter(Arc<Mutex<Windows>>);

#[derive(Debug)]
struct Windows {
    syncs: Window,
    reads: Window,
}

impl DiskMeter {
    /// Begins now.
    pub(crate) fn new(now: Instant) -> Self {
        let windows = Windows {
            syncs: Window::new(now),
            reads: Window::new(now),
        };
        Self(Arc::new(Mutex::new(windows)))
    }

    /// A log write was synced.
    pub(crate) fn synced(&self, now: Instant, took: Duration) {
        self.0.lock().syncs.add(now, took);
    }

    /// A record was read that was not in memory.
    pub(crate) fn read(&self, now: Instant, took: Duration) {
        self.0.lock().reads.add(now, took);
    }

    /// What it takes at present.
    pub(crate) fn pace(&self, now: Instant) -> DiskPace {
        let windows = &mut *self.0.lock();
        DiskPace {
            sync: windows.syncs.p99(now),
            read: windows.reads.p99(now),
        }
    }
}
