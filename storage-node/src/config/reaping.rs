//! When deleted keys and expired values may be forgotten, and how fast that goes.

use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, HintLimits, Limits, fields};
use crate::reaping::Pace;
use crate::replica::TombstoneRule;

/// No message of hints or comparisons is acted on when it is older: the longest of their deadlines.
const BACKGROUND_DEADLINE: Duration = Duration::from_secs(10);

/// The longest time that one request of reclaiming may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// When deleted keys and expired values may be forgotten, and how fast that goes. The same on every node of a
/// cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reaping {
    /// A deleted key is kept for so long at least. Longer than `hints.ttl`, `limits.max_request_timeout` and
    /// `max_clock_skew` together. Default 24h.
    #[serde(deserialize_with = "fields::duration")]
    pub age: Duration,
    /// The wall clocks of the cluster's nodes differ by so much at most; expired values are kept for so long.
    /// Default 10m.
    #[serde(deserialize_with = "fields::duration")]
    pub max_clock_skew: Duration,
    /// Pause between two scans of all this node's data. Default 1h.
    #[serde(deserialize_with = "fields::duration")]
    pub interval: Duration,
    /// Bytes a second that the scan reads. Default 8 MiB.
    pub scan_bytes_per_second: u64,
    /// Keys a second that are removed or changed. Default 1,000.
    pub keys_per_second: u64,
}

impl Default for Reaping {
    fn default() -> Self {
        let rule = TombstoneRule::default();
        Self {
            age: rule.age,
            max_clock_skew: rule.max_clock_skew,
            interval: Duration::from_secs(3600),
            scan_bytes_per_second: 8 << 20,
            keys_per_second: 1000,
        }
    }
}

impl Reaping {
    pub(super) fn validate(&self, limits: &Limits, hints: &HintLimits) -> Result<(), ConfigError> {
        // Invariant I17.
        let younger = hints
            .ttl
            .saturating_add(limits.max_request_timeout)
            .saturating_add(self.max_clock_skew);
        if self.age <= younger {
            let reason = format!(
                "reaping.age ({}) must be longer than hints.ttl, limits.max_request_timeout and reaping.max_clock_skew \
                 together ({}), or a late write could bring back what was deleted",
                humantime::format_duration(self.age),
                humantime::format_duration(younger)
            );
            let usual = Self::default();
            let is_usual = self.age >= usual.age && self.max_clock_skew <= usual.max_clock_skew;
            let field = if is_usual { "hints.ttl" } else { "reaping.age" };
            return Err(ConfigError::field(field, reason));
        }
        if self.interval.is_zero() {
            return Err(ConfigError::field(
                "reaping.interval",
                "must be longer than nothing",
            ));
        }
        for (path, rate) in [
            ("reaping.scan_bytes_per_second", self.scan_bytes_per_second),
            ("reaping.keys_per_second", self.keys_per_second),
        ] {
            if rate == 0 {
                return Err(ConfigError::field(path, "must be 1 or more"));
            }
        }
        Ok(())
    }

    pub(crate) fn rule(&self) -> TombstoneRule {
        TombstoneRule {
            age: self.age,
            max_clock_skew: self.max_clock_skew,
        }
    }

    /// A request, or a repair in the background, ends by its deadline, and a frame's age may be taken for less by
    /// what a greeting takes: another request's time leaves room for that.
    pub(crate) fn pace(&self, limits: &Limits) -> Pace {
        Pace {
            interval: self.interval,
            settle: limits.max_request_timeout.max(BACKGROUND_DEADLINE)
                + limits.max_request_timeout,
            request_timeout: REQUEST_TIMEOUT.min(limits.max_request_timeout),
            scan_bytes_per_second: self.scan_bytes_per_second,
            keys_per_second: self.keys_per_second,
        }
    }
}
