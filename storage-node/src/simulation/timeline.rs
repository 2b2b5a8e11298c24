//! The time since a simulation began, the same for all that takes part in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// See the module.
#[derive(Debug, Clone)]
pub enum Timeline {
    /// That of the one runtime in which everything runs.
    Runtime(Instant),
    /// That of whoever drives several runtimes, in microseconds: their instants can't be compared.
    Driven(Arc<AtomicU64>),
}

impl Timeline {
    /// One that stands at the beginning until it is [set](Self::set).
    pub fn driven() -> Self {
        Self::Driven(Arc::default())
    }

    /// So much has passed.
    pub fn elapsed(&self) -> Duration {
        match self {
            Self::Runtime(began) => began.elapsed(),
            Self::Driven(now) => Duration::from_micros(now.load(Ordering::Relaxed)),
        }
    }

    /// So much has passed, says its driver.
    pub fn set(&self, elapsed: Duration) {
        if let Self::Driven(now) = self {
            let elapsed = u64::try_from(elapsed.as_micros()).expect("a simulation ends some day");
            now.store(elapsed, Ordering::Relaxed);
        }
    }
}

impl From<Instant> for Timeline {
    fn from(began: Instant) -> Self {
        Self::Runtime(began)
    }
}
