//! What is usual for requests here: pure.
//!
//! The measure is relative, because nobody can say for all disks, networks and values what is slow.
//! It follows what gets faster soon, and what gets slower only over minutes, and not at all while
//! background work goes on: else that would become usual.

use std::time::Duration;

/// Of a faster window, so much is taken over.
const FASTER: f64 = 0.2;

/// Of a slower one. A load that stays twice as slow is usual after some minutes.
const SLOWER: f64 = 0.01;

/// Nothing below this counts as slow: a client that waits for a disk does not notice.
const CALM: Duration = Duration::from_millis(1);

/// The usual 99th percentile.
#[derive(Debug, Clone, Default)]
pub(super) struct Usual(Option<Duration>);

impl Usual {
    /// A window has ended: how much slower it was than usual, as a ratio.
    pub(super) fn compare(&mut self, p99: Duration, beside_background: bool) -> f64 {
        let Some(usual) = self.0 else {
            self.0 = Some(p99);
            return 1.0;
        };
        let ratio = p99.as_secs_f64() / usual.max(CALM).as_secs_f64();
        let taken = if p99 < usual {
            FASTER
        } else if beside_background {
            0.0
        } else {
            SLOWER
        };
        self.0 = Some(usual.mul_f64(1.0 - taken) + p99.mul_f64(taken));
        ratio
    }

    /// It, once known.
    pub(super) fn p99(&self) -> Duration {
        self.0.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(10);
    const SLOW: Duration = Duration::from_millis(20);

    #[test]
    fn the_first_window_is_usual() {
        assert!((Usual::default().compare(SLOW, true) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_slower_load_is_usual_after_minutes_and_a_faster_one_after_seconds() {
        let mut usual = Usual::default();
        usual.compare(FAST, false);
        assert!(usual.compare(SLOW, false) > 1.9);
        for _ in 0..60 {
            usual.compare(SLOW, false);
        }
        assert!(usual.compare(SLOW, false) > 1.2);
        for _ in 0..300 {
            usual.compare(SLOW, false);
        }
        assert!(usual.compare(SLOW, false) < 1.05);
        for _ in 0..15 {
            usual.compare(FAST, false);
        }
        assert!(usual.compare(SLOW, false) > 1.9);
    }

    #[test]
    fn what_background_work_causes_never_becomes_usual() {
        let mut usual = Usual::default();
        usual.compare(FAST, false);
        for _ in 0..10_000 {
            usual.compare(SLOW, true);
        }
        assert_eq!(usual.p99(), FAST);
    }

    #[test]
    fn what_nobody_notices_is_not_slow() {
        let mut usual = Usual::default();
        usual.compare(Duration::from_micros(100), false);
        assert!(usual.compare(Duration::from_micros(900), false) < 1.0);
    }
}
