//! How fast reclaiming goes: pure. An allowance of units a second; what is taken may overdraw it, and the
//! next has to wait until that is paid for.

use std::time::Duration;

use tokio::time::Instant;

/// So much may gather while nothing is taken.
const SAVED: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Allowance {
    per_second: u64,
    paid_at: Instant,
}

impl Allowance {
    /// At least 1 a second.
    pub(super) fn new(per_second: u64, now: Instant) -> Self {
        Self {
            per_second: per_second.max(1),
            paid_at: now,
        }
    }

    /// Takes so much, and says from when on the next may be taken.
    pub(super) fn take(&mut self, units: usize, now: Instant) -> Instant {
        let earliest = now.checked_sub(SAVED).unwrap_or(now);
        let seconds = units as f64 / self.per_second as f64;
        self.paid_at = self.paid_at.max(earliest) + Duration::from_secs_f64(seconds.min(3600.0));
        self.paid_at.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_in_the_long_run() {
        let begin = Instant::now();
        let mut allowance = Allowance::new(100, begin);
        let mut now = begin;
        for _ in 0..50 {
            now = allowance.take(30, now);
        }
        let took = now.duration_since(begin);
        assert!(
            took >= Duration::from_secs(14) && took <= Duration::from_secs(15),
            "{took:?}"
        );
    }

    #[test]
    fn idle_time_counts_for_a_second_at_most() {
        let begin = Instant::now();
        let mut allowance = Allowance::new(100, begin);
        let later = begin + Duration::from_secs(1000);
        assert_eq!(allowance.take(100, later), later);
        assert_eq!(allowance.take(100, later), later + Duration::from_secs(1));
    }
}
