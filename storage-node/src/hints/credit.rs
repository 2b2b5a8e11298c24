//! The receiver's leave to send, in bytes: pure.
//!
//! A node that comes back is sent to by all others at once. So nobody sends without leave, and all
//! share one allowance of bytes a second. A grant is given whole when the allowance is not used up, and
//! may overdraw it: so one hint of any size passes, and the rate holds in the long run.

use std::time::Duration;

use tokio::time::Instant;

use crate::overload::Allowance;

/// So much of the allowance may gather while nobody sends.
const MAX_SAVED: Duration = Duration::from_millis(500);

/// Nobody is told to wait longer.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long senders wait when this node is overloaded.
const OVERLOAD_PAUSE: Duration = Duration::from_secs(1);

/// The answer to a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// It may send.
    Send,
    /// It may ask again after this.
    Wait(Duration),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Credit(Allowance);

impl Credit {
    /// Nothing was granted yet.
    pub(super) fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self(Allowance::new(bytes_per_second, MAX_SAVED, now))
    }

    /// Asks leave for so many bytes, where only this share of the allowance may be used, which is above 0.
    pub(super) fn ask(
        &mut self,
        bytes: u64,
        share: f64,
        is_overloaded: bool,
        now: Instant,
    ) -> Grant {
        if is_overloaded {
            return Grant::Wait(OVERLOAD_PAUSE);
        }
        let owed = self.0.owed(now);
        if !owed.is_zero() {
            return Grant::Wait(owed.min(MAX_WAIT));
        }
        self.0.spend(bytes, share, now);
        Grant::Send
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: u64 = 1000;

    #[test]
    fn an_overloaded_node_makes_all_wait_and_grants_nothing() {
        let now = Instant::now();
        let mut credit = Credit::new(RATE, now);
        assert_eq!(credit.ask(10, 1.0, true, now), Grant::Wait(OVERLOAD_PAUSE));
        assert_eq!(credit.ask(10, 1.0, false, now), Grant::Send);
    }

    #[test]
    fn a_hint_larger_than_a_second_s_allowance_passes_and_is_paid_for() {
        let now = Instant::now();
        let mut credit = Credit::new(RATE, now);
        assert_eq!(credit.ask(5 * RATE, 1.0, false, now), Grant::Send);
        assert_eq!(
            credit.ask(1, 1.0, false, now),
            Grant::Wait(Duration::from_secs(5))
        );
        let later = now + Duration::from_secs(5);
        assert_eq!(credit.ask(1, 1.0, false, later), Grant::Send);
    }

    proptest! {
        /// Whoever asks, whenever: never more than the rate allows, what was saved, and one grant.
        #[test]
        fn the_rate_holds(asks in prop::collection::vec((0..300_u64, 1..400_u64), 1..80)) {
            let began = Instant::now();
            let (mut credit, mut now, mut granted) = (Credit::new(RATE, began), began, 0);
            for (pause_ms, bytes) in asks {
                now += Duration::from_millis(pause_ms);
                if credit.ask(bytes, 1.0, false, now) == Grant::Send {
                    granted += bytes;
                }
                let allowed = (now - began + MAX_SAVED).as_secs_f64() * RATE as f64 + 400.0;
                prop_assert!(granted as f64 <= allowed + 1.0, "{granted} of {allowed}");
            }
        }

        /// Who waits as told is let through in the end: the rate is used up, not just kept.
        #[test]
        fn patience_is_rewarded(asks in prop::collection::vec(1..400_u64, 1..40)) {
            let began = Instant::now();
            let (mut credit, mut now) = (Credit::new(RATE, began), began);
            let total: u64 = asks.iter().sum();
            for bytes in asks {
                while let Grant::Wait(wait) = credit.ask(bytes, 1.0, false, now) {
                    now += wait;
                }
            }
            let took = (now - began).as_secs_f64();
            prop_assert!(took <= total as f64 / RATE as f64 + 0.001);
        }
    }
}
