//! The recorder's clock: the only place of this crate that asks what time it is.

use std::time::Duration;

use tokio::time::Instant;

/// Counts from the run's beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock that begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Since the beginning.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Microseconds since the beginning.
    pub(crate) fn now_us(self) -> u64 {
        u64::try_from(self.elapsed().as_micros()).expect("a run ends some day")
    }
}
