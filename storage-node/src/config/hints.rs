//! What bounds the hints: writes kept for owners that are away.

use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, fields};

/// Bounds of hints, and the pace of their delivery.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HintLimits {
    /// For an owner that has been away longer no more is kept; the partition is compared with it when
    /// it returns. Default 3h.
    #[serde(deserialize_with = "fields::duration")]
    pub window: Duration,
    /// A write older than this is not taken as a hint any more. With the longest request and the
    /// clocks' differences it must stay below `reaping.age`, at which deletes are forgotten. Default 3h.
    #[serde(deserialize_with = "fields::duration")]
    pub ttl: Duration,
    /// Most bytes of hints on this node. Default 10 GiB.
    pub max_bytes: u64,
    /// And most of them as a share of the disk, in percent. Default 10.
    pub max_disk_percent: u64,
    /// Most bytes of sloppy writes kept for others; with more, new ones are refused. Default 10 GiB.
    pub max_sloppy_bytes: u64,
    /// Hints that may wait in memory for the log. Default 10,000.
    pub max_waiting: usize,
    /// A node that has come back is left alone for up to so long, so that not all begin at once.
    /// Default 5s.
    #[serde(deserialize_with = "fields::duration")]
    pub replay_jitter: Duration,
    /// How often a node that is thought to be down is tried all the same. Default 60s.
    #[serde(deserialize_with = "fields::duration")]
    pub probe_interval: Duration,
    /// Bytes of hints a second that this node takes, from all others together. Default 4 MiB.
    pub receive_bytes_per_second: u64,
}

impl Default for HintLimits {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(3 * 60 * 60),
            ttl: Duration::from_secs(3 * 60 * 60),
            max_bytes: 10 << 30,
            max_disk_percent: 10,
            max_sloppy_bytes: 10 << 30,
            max_waiting: 10_000,
            replay_jitter: Duration::from_secs(5),
            probe_interval: Duration::from_secs(60),
            receive_bytes_per_second: 4 << 20,
        }
    }
}

impl HintLimits {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.ttl.is_zero() {
            let reason = "must be longer than nothing";
            return Err(ConfigError::field("hints.ttl", reason));
        }
        if self.max_disk_percent > 100 {
            return Err(ConfigError::field(
                "hints.max_disk_percent",
                "must be 0 to 100",
            ));
        }
        for (path, count) in [
            ("hints.max_waiting", self.max_waiting as u64),
            (
                "hints.receive_bytes_per_second",
                self.receive_bytes_per_second,
            ),
        ] {
            if count == 0 {
                return Err(ConfigError::field(path, "must be 1 or more"));
            }
        }
        if self.probe_interval.is_zero() {
            return Err(ConfigError::field(
                "hints.probe_interval",
                "must be longer than nothing",
            ));
        }
        Ok(())
    }

    /// Most bytes on a disk of that size.
    pub(crate) fn max_bytes_on(&self, disk_bytes: u64) -> u64 {
        let share = u128::from(disk_bytes) * u128::from(self.max_disk_percent) / 100;
        self.max_bytes.min(u64::try_from(share).unwrap_or(u64::MAX))
    }
}
