//! How often owners compare their copies, and what that may cost.

use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, fields};
use crate::antientropy::{ScrubSettings, Settings};

/// Anti-entropy.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AntiEntropy {
    /// Time between two comparisons of a partition with another owner. Default 10m.
    #[serde(deserialize_with = "fields::duration")]
    pub interval: Duration,
    /// Within this time every partition is to be compared with every other owner; metrics and the status
    /// tell when it is not. Default 30m.
    #[serde(deserialize_with = "fields::duration")]
    pub bound: Duration,
    /// An owner that was away for so long is compared with as soon as it is back. Default 1m.
    #[serde(deserialize_with = "fields::duration")]
    pub outage: Duration,
    /// The longest pause before differences are looked at a second time; writes under way arrive within it.
    /// The shortest is 0.4 of it. Default 500ms.
    #[serde(deserialize_with = "fields::duration")]
    pub confirm_after: Duration,
    /// Bytes a second that the comparisons begun by this node may cost in the long run. Default 5,000,000.
    pub bytes_per_second: u64,
    /// Leaves of the hash tree (a few keys each) that are mended before the next are looked for. Default 256.
    pub leaves_per_round: usize,
    /// Time between two scrubs of a partition: all of its data is read back. Default 7days.
    #[serde(deserialize_with = "fields::duration")]
    pub scrub_interval: Duration,
    /// Bytes a second that scrubs may read in the long run. Default 10,000,000.
    pub scrub_bytes_per_second: u64,
}

impl Default for AntiEntropy {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(600),
            bound: Duration::from_secs(1800),
            outage: Duration::from_secs(60),
            confirm_after: Duration::from_millis(500),
            bytes_per_second: 5_000_000,
            leaves_per_round: 256,
            scrub_interval: Duration::from_secs(7 * 24 * 3600),
            scrub_bytes_per_second: 10_000_000,
        }
    }
}

/// What one request may ask for.
const MOST_LEAVES: usize = 1024;

impl AntiEntropy {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let field = |name: &str, reason: &str| {
            Err(ConfigError::field(format!("anti_entropy.{name}"), reason))
        };
        if self.interval < Duration::from_secs(1) {
            return field("interval", "must be 1s at least");
        }
        if self.bound < self.interval {
            return field("bound", "must not be shorter than anti_entropy.interval");
        }
        if self.confirm_after > Duration::from_secs(60) {
            return field("confirm_after", "must be 1m at most");
        }
        if self.bytes_per_second < 1000 {
            return field("bytes_per_second", "must be 1,000 at least");
        }
        if self.scrub_interval < Duration::from_secs(60) {
            return field("scrub_interval", "must be 1m at least");
        }
        if self.scrub_bytes_per_second < 1000 {
            return field("scrub_bytes_per_second", "must be 1,000 at least");
        }
        if !(1..=MOST_LEAVES).contains(&self.leaves_per_round) {
            return field("leaves_per_round", "must be 1 to 1,024");
        }
        Ok(())
    }

    pub(crate) fn scrub(&self) -> ScrubSettings {
        ScrubSettings {
            interval: self.scrub_interval,
            bytes_per_second: self.scrub_bytes_per_second,
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            interval: self.interval,
            bound: self.bound,
            outage: self.outage,
            confirm_after: self.confirm_after,
            bytes_per_second: self.bytes_per_second,
            leaves_per_round: self.leaves_per_round,
        }
    }
}
