//! The ages of reclaiming in a simulation: shorter than a node's defaults, in the same relation.
//!
//! Requests live for 2 s, wall clocks are up to 10 s apart, hints live for 6 s at most and are under way for 10 s.

use std::time::Duration;

use crate::reaping::Pace;
use crate::replica::TombstoneRule;

/// A deleted key is kept for so long at least.
pub const REAP_AGE: Duration = Duration::from_secs(27);

/// Expired values are kept for so long: two wall clocks that are wrong by 5 s each.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(10);

pub(super) fn rule() -> TombstoneRule {
    TombstoneRule {
        age: REAP_AGE,
        max_clock_skew: MAX_CLOCK_SKEW,
    }
}

pub(super) fn pace() -> Pace {
    Pace {
        interval: Duration::from_secs(1),
        settle: Duration::from_secs(11),
        request_timeout: Duration::from_secs(1),
        scan_bytes_per_second: 1 << 20,
        keys_per_second: 1000,
    }
}
