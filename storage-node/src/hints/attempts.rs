//! When an owner that is owed hints is tried: pure.
//!
//! - As soon as it is alive, after a random pause, so that not all senders begin together.
//! - After a failure later and later.
//! - While it is thought to be down only now and then: belief may be wrong.

use std::time::Duration;

use tokio::time::Instant;

/// First pause after a failure; doubled with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Try it.
    Go,
    /// Not before then, unless what is believed of it changes.
    Wait(Instant),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Attempts {
    longest_jitter: Duration,
    probe_every: Duration,
    /// When it was found alive, and the pause is over.
    alive_from: Option<Instant>,
    next_probe: Instant,
    not_before: Instant,
    failures: u32,
}

impl Attempts {
    /// It was just found out that something is owed.
    pub(super) fn new(longest_jitter: Duration, probe_every: Duration, now: Instant) -> Self {
        Self {
            longest_jitter,
            probe_every,
            alive_from: None,
            next_probe: now + probe_every,
            not_before: now,
            failures: 0,
        }
    }

    /// What to do, given what is believed of it. `random` decides the pause.
    pub(super) fn next(&mut self, is_alive: bool, random: u64, now: Instant) -> Next {
        let from = if is_alive {
            let jitter = self
                .longest_jitter
                .mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64);
            (*self.alive_from.get_or_insert(now + jitter)).max(self.not_before)
        } else {
            self.alive_from = None;
            self.next_probe
        };
        if now < from {
            return Next::Wait(from);
        }
        if !is_alive {
            self.next_probe = now + self.probe_every;
        }
        Next::Go
    }

    /// It took what it was sent.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// It could not be reached, or did not take all.
    pub(super) fn failed(&mut self, now: Instant) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + pause.min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JITTER: Duration = Duration::from_secs(5);
    const PROBE: Duration = Duration::from_secs(60);
    const HALF: u64 = 1 << 63;

    #[test]
    fn who_comes_back_is_left_alone_for_a_moment() {
        let now = Instant::now();
        let mut attempts = Attempts::new(JITTER, PROBE, now);
        assert_eq!(attempts.next(false, HALF, now), Next::Wait(now + PROBE));
        let from = now + JITTER / 2;
        assert_eq!(attempts.next(true, HALF, now), Next::Wait(from));
        assert_eq!(attempts.next(true, 0, now), Next::Wait(from), "drawn once");
        assert_eq!(attempts.next(true, 0, from), Next::Go);
        assert_eq!(attempts.next(true, HALF, from), Next::Go, "and goes on");
        assert_eq!(attempts.next(false, 0, from), Next::Wait(now + PROBE));
        assert_eq!(
            attempts.next(true, HALF, from),
            Next::Wait(from + JITTER / 2)
        );
    }

    #[test]
    fn who_is_down_is_tried_now_and_then() {
        let now = Instant::now();
        let mut attempts = Attempts::new(JITTER, PROBE, now);
        assert_eq!(attempts.next(false, 0, now + PROBE), Next::Go);
        let next = Next::Wait(now + PROBE * 2);
        assert_eq!(attempts.next(false, 0, now + PROBE), next);
    }

    proptest! {
        #[test]
        fn pauses_grow_and_end(failures in 1..40_u32) {
            let now = Instant::now();
            let mut attempts = Attempts::new(Duration::ZERO, PROBE, now);
            let mut last = Duration::ZERO;
            for _ in 0..failures {
                attempts.failed(now);
                let Next::Wait(until) = attempts.next(true, 0, now) else {
                    panic!("no pause after a failure");
                };
                prop_assert!(until - now >= last && until - now <= LONGEST_PAUSE);
                last = until - now;
            }
            attempts.succeeded();
            attempts.failed(now);
            prop_assert_eq!(attempts.next(true, 0, now), Next::Wait(now + FIRST_PAUSE));
        }
    }
}
