//! A token bucket that may go into debt: what was moved is paid for afterwards, by waiting. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// See the module.
#[derive(Debug)]
pub(super) struct TokenBucket {
    bytes_per_second: u64,
    /// Until when what was spent is paid for. Never more than a second behind: no more than that is saved up.
    paid_until: Instant,
}

/// What may be saved up: bytes of so much time.
const BURST: Duration = Duration::from_secs(1);

impl TokenBucket {
    pub(super) fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            paid_until: now,
        }
    }

    /// Spends bytes, where only this share of the rate may be used, which is above 0; how long to wait before
    /// the next.
    pub(super) fn spend(&mut self, bytes: usize, share: f64, now: Instant) -> Duration {
        let saved = now.checked_sub(BURST).unwrap_or(now);
        let costs = Duration::from_secs_f64(bytes as f64 / (self.bytes_per_second as f64 * share));
        self.paid_until = self.paid_until.max(saved) + costs;
        self.paid_until.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate_passes_in_the_long_run() {
        let began = Instant::now();
        let mut bucket = TokenBucket::new(1000, began);
        let mut now = began;
        for _ in 0..100 {
            now += bucket.spend(250, 1.0, now);
        }
        let took = now.duration_since(began);
        assert!(took >= Duration::from_secs(24), "{took:?}");
        assert!(took <= Duration::from_secs(25), "{took:?}");
    }

    #[test]
    fn a_long_rest_saves_up_one_second() {
        let began = Instant::now();
        let mut bucket = TokenBucket::new(1000, began);
        let later = began + Duration::from_secs(3600);
        assert_eq!(bucket.spend(1000, 1.0, later), Duration::ZERO);
        assert_eq!(bucket.spend(500, 1.0, later), Duration::from_millis(500));
    }
}
