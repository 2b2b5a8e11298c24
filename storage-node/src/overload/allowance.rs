//! So much a second (bytes or keys), in the long run: pure.
//!
//! It may go into debt: what was spent is paid for afterwards, by waiting. So one piece of any size passes.

use std::time::Duration;

use tokio::time::Instant;

/// See the module.
#[derive(Debug)]
pub(crate) struct Allowance {
    per_second: u64,
    /// So much of it may gather while nothing is spent.
    saves: Duration,
    /// Until when what was spent is paid for.
    paid_until: Instant,
}

impl Allowance {
    /// Nothing was spent yet, and nothing has gathered.
    pub(crate) fn new(per_second: u64, saves: Duration, now: Instant) -> Self {
        Self {
            per_second: per_second.max(1),
            saves,
            paid_until: now,
        }
    }

    /// From now on so many; what is owed stays owed.
    pub(crate) fn set_rate(&mut self, per_second: u64) {
        self.per_second = per_second.max(1);
    }

    /// How long until all is paid for that was spent.
    pub(crate) fn owed(&self, now: Instant) -> Duration {
        self.paid_until.saturating_duration_since(now)
    }

    /// Spends that, where only this share of the rate may be used, which is above 0.
    pub(crate) fn spend(&mut self, units: u64, share: f64, now: Instant) {
        let saved = now.checked_sub(self.saves).unwrap_or(now);
        let cost = Duration::from_secs_f64(units as f64 / (self.per_second as f64 * share));
        self.paid_until = self.paid_until.max(saved) + cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn no_more_than_the_rate_passes_in_the_long_run() {
        let began = Instant::now();
        let mut allowance = Allowance::new(1000, SECOND, began);
        let mut now = began;
        for _ in 0..100 {
            allowance.spend(250, 1.0, now);
            now += allowance.owed(now);
        }
        let took = now.duration_since(began);
        assert!(took >= Duration::from_secs(24), "{took:?}");
        assert!(took <= Duration::from_secs(25), "{took:?}");
    }

    #[test]
    fn a_long_rest_saves_up_one_second() {
        let began = Instant::now();
        let mut allowance = Allowance::new(1000, SECOND, began);
        let later = began + Duration::from_secs(3600);
        allowance.spend(1000, 1.0, later);
        assert_eq!(allowance.owed(later), Duration::ZERO);
        allowance.spend(500, 1.0, later);
        assert_eq!(allowance.owed(later), Duration::from_millis(500));
    }
}
