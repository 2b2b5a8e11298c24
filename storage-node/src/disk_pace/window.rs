//! The 99th percentile of what was seen lately: pure.
//!
//! Counts by size in two spans of half a minute, the present one and the one before; so what it tells rests on the
//! last 30 to 60 s. Sizes are told apart by a factor of √2: enough to compare by a factor of ten.

use std::f64::consts::SQRT_2;
use std::time::Duration;

use tokio::time::Instant;

/// How long one span is.
const SPAN: Duration = Duration::from_secs(30);

/// From 1 µs to 71 minutes.
const SIZES: usize = 64;

/// With fewer, one hiccup is the 99th percentile.
const LEAST_SAMPLES: u64 = 100;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Window {
    began: Instant,
    present: [u64; SIZES],
    before: [u64; SIZES],
}

impl Window {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            present: [0; SIZES],
            before: [0; SIZES],
        }
    }

    /// Something took so long.
    pub(super) fn add(&mut self, now: Instant, took: Duration) {
        self.turn(now);
        self.present[size_of(took)] += 1;
    }

    /// 99 of 100 took that long at most; `None`: too few lately.
    pub(super) fn p99(&mut self, now: Instant) -> Option<Duration> {
        self.turn(now);
        let counts = self.present.iter().zip(&self.before);
        let counts: Vec<u64> = counts.map(|(one, other)| one + other).collect();
        let all: u64 = counts.iter().sum();
        if all < LEAST_SAMPLES {
            return None;
        }
        let mut longer = all;
        let size = counts.iter().position(|count| {
            longer -= count;
            longer * 100 <= all
        });
        size.map(longest_of)
    }

    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age < SPAN {
            return;
        }
        self.before = if age < 2 * SPAN {
            self.present
        } else {
            [0; SIZES]
        };
        self.present = [0; SIZES];
        self.began = now;
    }
}

/// Two sizes to each doubling.
fn size_of(took: Duration) -> usize {
    let micros = took.as_micros().clamp(1, u128::from(u32::MAX));
    let doublings = micros.ilog2();
    let is_upper_half = micros * micros >= 1 << (2 * doublings + 1);
    2 * doublings as usize + usize::from(is_upper_half)
}

fn longest_of(size: usize) -> Duration {
    let doublings = u32::try_from(size / 2).expect("less than 32");
    let least = Duration::from_micros(1 << doublings);
    least.mul_f64(if size.is_multiple_of(2) { SQRT_2 } else { 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_size_holds_what_it_says() {
        for micros in (1..5_000).chain([70_000, 1_000_000, 4_000_000_000]) {
            let took = Duration::from_micros(micros);
            let longest = longest_of(size_of(took));
            assert!(took <= longest, "{took:?} > {longest:?}");
            assert!(longest <= took * 2, "{took:?} << {longest:?}");
        }
        assert_eq!(size_of(Duration::ZERO), 0);
        assert_eq!(size_of(Duration::MAX), SIZES - 1);
    }

    #[test]
    fn one_in_a_hundred_may_be_longer() {
        let now = Instant::now();
        let mut window = Window::new(now);
        for _ in 0..99 {
            window.add(now, MILLI);
        }
        assert_eq!(window.p99(now), None, "too few");
        window.add(now, MILLI * 1000);
        assert!(window.p99(now).unwrap() < MILLI * 2);
        window.add(now, MILLI * 1000);
        assert!(window.p99(now).unwrap() >= MILLI * 1000);
    }

    #[test]
    fn what_was_seen_is_forgotten_after_a_minute_at_most() {
        let now = Instant::now();
        let mut window = Window::new(now);
        for _ in 0..200 {
            window.add(now, MILLI);
        }
        assert!(window.p99(now + SPAN).is_some());
        assert_eq!(window.p99(now + SPAN * 2), None);
        for _ in 0..200 {
            window.add(now + SPAN * 2, MILLI);
        }
        assert_eq!(window.p99(now + SPAN * 5), None, "nothing for two spans");
    }
}
