//! Time, as the node is told it.
//!
//! Owns: the one place that asks the system for the time. Everything else is handed an
//! `Arc<dyn Clock>`, so that a test or a simulation decides what time it is.
//!
//! Invariant: [`Clock::now`] never goes back. [`Clock::wall_ms`] may (an operator sets the clock);
//! whoever needs order among events uses a hybrid logical clock on top of it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Tells the time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Monotonic time: for deadlines, timeouts and durations.
    fn now(&self) -> Instant;

    /// Milliseconds since 1970 by the wall clock: for expiry and hybrid logical stamps.
    fn wall_ms(&self) -> u64;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the system"
    )]
    fn wall_ms(&self) -> u64 {
        // A clock set before 1970 counts as 1970: the hybrid clock keeps events in order anyway.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        milliseconds(since)
    }
}

/// Whole milliseconds of a duration.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_counts_milliseconds_since_1970() {
        let year_2020_ms = 1_577_836_800_000;
        let year_2200_ms = 7_258_118_400_000;
        assert!((year_2020_ms..year_2200_ms).contains(&SystemClock.wall_ms()));
    }
}
