//! How many client requests may be worked on at once: pure.
//!
//! Where requests take much longer than usual although nothing but their number has changed, more of
//! them would only wait longer: so the number goes down, and what is too much is told at once. A
//! gradient limit in the manner of Netflix's concurrency-limits (`Gradient2Limit`), on the 99th percentile.

/// So much slower than usual is no reason yet.
const TOLERANCE: f64 = 2.0;

/// A window takes the limit down by half of itself at most.
const STEEPEST: f64 = 0.5;

/// Of what a window says, so much is followed at once.
const SMOOTHING: f64 = 0.3;

/// The bounds of the limit. `lowest` is at most `highest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) lowest: usize,
    pub(super) highest: usize,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct ConcurrencyLimit {
    bounds: Bounds,
    limit: f64,
}

impl ConcurrencyLimit {
    /// As high as it may be: nothing is known to be slow.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            limit: bounds.highest as f64,
        }
    }

    /// Requests at once.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it lies between the bounds"
    )]
    pub(super) fn get(&self) -> usize {
        self.limit as usize
    }

    /// A window has ended that was so much slower than usual, with so many requests at once at most.
    ///
    /// Few requests that are slow are slow for another reason; and that few are fast does not show that
    /// more would be.
    pub(super) fn follow(&mut self, ratio: f64, most_at_once: usize) {
        if (most_at_once as f64) < self.limit / 2.0 {
            if ratio <= TOLERANCE {
                self.rise();
            }
            return;
        }
        let gradient = (TOLERANCE / ratio.max(f64::MIN_POSITIVE)).clamp(STEEPEST, 1.0);
        if gradient < 1.0 {
            let wanted = self.limit * gradient;
            self.set(self.limit + (wanted - self.limit) * SMOOTHING);
        } else {
            self.rise();
        }
    }

    fn rise(&mut self) {
        self.set(self.limit + self.limit.sqrt());
    }

    fn set(&mut self, limit: f64) {
        let Bounds { lowest, highest } = self.bounds;
        self.limit = limit.clamp(lowest as f64, highest as f64);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        lowest: 64,
        highest: 4096,
    };

    /// A server that carries out so many at a time, and queues the rest: what its clients see at a limit.
    fn ratio(at_once: usize, capacity: usize) -> f64 {
        at_once.max(capacity) as f64 / capacity as f64
    }

    #[test]
    fn it_settles_where_requests_take_twice_as_long_as_usual() {
        let mut limit = ConcurrencyLimit::new(BOUNDS);
        for _ in 0..120 {
            limit.follow(ratio(limit.get(), 200), limit.get());
        }
        assert!((350..520).contains(&limit.get()), "{}", limit.get());
    }

    #[test]
    fn it_rises_again_when_the_rush_is_over() {
        let mut limit = ConcurrencyLimit::new(BOUNDS);
        for _ in 0..60 {
            limit.follow(20.0, limit.get());
        }
        assert_eq!(limit.get(), BOUNDS.lowest);
        for _ in 0..300 {
            limit.follow(1.0, 10);
        }
        assert_eq!(limit.get(), BOUNDS.highest);
    }

    #[test]
    fn few_slow_requests_are_no_rush() {
        let mut limit = ConcurrencyLimit::new(BOUNDS);
        for _ in 0..60 {
            limit.follow(1000.0, 10);
        }
        assert_eq!(limit.get(), BOUNDS.highest);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(windows in prop::collection::vec((0.0..1e9_f64, 0..10_000_usize), 0..200)) {
            let mut limit = ConcurrencyLimit::new(BOUNDS);
            for (ratio, at_once) in windows {
                limit.follow(ratio, at_once);
                prop_assert!((BOUNDS.lowest..=BOUNDS.highest).contains(&limit.get()));
            }
        }
    }
}
