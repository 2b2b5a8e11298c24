//! A node's clocks in a simulation: one monotonic time for all, a wall clock each that may be wrong.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::timeline::Timeline;
use crate::clock::Clock;

/// The wall time at which simulations begin, in milliseconds since 1970.
const BEGINNING_MS: u64 = 1_800_000_000_000;

/// A wall clock that drifts is never further off than this, in milliseconds: something sets it right.
pub const DRIFTS_BY_AT_MOST_MS: i64 = 5_000;

/// See the module. Lives longer than one run of its node.
#[derive(Debug)]
pub struct SimClock {
    timeline: Timeline,
    error: Mutex<WallError>,
}

/// How a wall clock is wrong.
#[derive(Debug)]
struct WallError {
    since: Duration,
    by_ms: i64,
    /// Microseconds too fast a second.
    drift_ppm: i64,
}

impl WallError {
    fn at(&self, now: Duration) -> i64 {
        let passed = now.saturating_sub(self.since).as_millis();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        let drifted = passed.saturating_mul(self.drift_ppm) / 1_000_000;
        if self.drift_ppm == 0 {
            return self.by_ms;
        }
        (self.by_ms + drifted).clamp(-DRIFTS_BY_AT_MOST_MS, DRIFTS_BY_AT_MOST_MS)
    }
}

impl SimClock {
    /// A clock that is right.
    pub fn new(timeline: impl Into<Timeline>) -> Self {
        Self {
            error: Mutex::new(WallError {
                since: Duration::ZERO,
                by_ms: 0,
                drift_ppm: 0,
            }),
            timeline: timeline.into(),
        }
    }

    /// From now on the wall clock is off by that much, and runs as it should.
    pub fn set_wrong_by_ms(&self, wrong_by_ms: i64) {
        *self.error.lock() = WallError {
            since: self.timeline.elapsed(),
            by_ms: wrong_by_ms,
            drift_ppm: 0,
        };
    }

    /// From now on the wall clock runs too fast by so many microseconds a second, or too slow.
    pub fn set_drift_ppm(&self, drift_ppm: i64) {
        let now = self.timeline.elapsed();
        let mut error = self.error.lock();
        *error = WallError {
            since: now,
            by_ms: error.at(now),
            drift_ppm,
        };
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall_ms(&self) -> u64 {
        let now = self.timeline.elapsed();
        let passed =
            u64::try_from(now.as_millis()).expect("a simulation is shorter than the universe");
        (BEGINNING_MS + passed).saturating_add_signed(self.error.lock().at(now))
    }
}
