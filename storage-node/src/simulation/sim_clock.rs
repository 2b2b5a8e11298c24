//! A node's clocks in a simulation: one monotonic time for all, a wall clock each that may be wrong.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

use crate::clock::Clock;

/// The wall time at which simulations begin, in milliseconds since 1970.
const BEGINNING_MS: u64 = 1_800_000_000_000;

/// See the module. Lives longer than one run of its node.
#[derive(Debug)]
pub struct SimClock {
    began: Instant,
    wrong_by_ms: AtomicI64,
}

impl SimClock {
    /// A clock that is right. Call it within the simulation's runtime.
    pub fn new(began: Instant) -> Self {
        Self {
            began,
            wrong_by_ms: AtomicI64::new(0),
        }
    }

    /// From now on the wall clock is off by that much.
    pub fn set_wrong_by_ms(&self, wrong_by_ms: i64) {
        self.wrong_by_ms.store(wrong_by_ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall_ms(&self) -> u64 {
        let passed = Instant::now().duration_since(self.began).as_millis();
        let passed = u64::try_from(passed).expect("a simulation is shorter than the universe");
        (BEGINNING_MS + passed).saturating_add_signed(self.wrong_by_ms.load(Ordering::Relaxed))
    }
}
