//! How fast partitions move from node to node.

use std::time::Duration;

use serde::Deserialize;

use super::{AntiEntropy, ConfigError, Limits, fields};
use crate::moves::MoveOptions;

/// No page of states is larger, unless a single state is.
const MAX_PAGE_BYTES: u64 = 4 << 20;

/// How fast partitions move from node to node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Moves {
    /// Bytes a second in each direction, over all moves; the admin API changes it while the node runs. When
    /// clients suffer it falls, but not below 5,000,000. Default 50,000,000.
    pub bytes_per_second: u64,
    /// Partitions that this node works on at a time, and pages that it gives to others at a time. Default 2.
    pub streams: usize,
    /// Bytes of states in one page; 4 MiB at most. Default 1 MiB.
    pub page_bytes: u64,
    /// Until an attempt that came to nothing is made again. Default 1s.
    #[serde(deserialize_with = "fields::duration")]
    pub retry: Duration,
}

impl Default for Moves {
    fn default() -> Self {
        Self {
            bytes_per_second: 50_000_000,
            streams: 2,
            page_bytes: 1 << 20,
            retry: Duration::from_secs(1),
        }
    }
}

impl Moves {
    /// With the pause before a second look at copies, and the longest time that a request may take.
    pub(crate) fn options(&self, anti_entropy: &AntiEntropy, limits: &Limits) -> MoveOptions {
        MoveOptions {
            streams: self.streams,
            page_bytes: self.page_bytes,
            retry: self.retry,
            confirm_after: anti_entropy.settings().confirm_after,
            longest_request: limits.max_request_timeout,
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let pages = 1..=MAX_PAGE_BYTES;
        if self.bytes_per_second == 0 || self.streams == 0 || self.retry.is_zero() {
            let reason = "bytes_per_second, streams and retry must be more than 0";
            return Err(ConfigError::field("moves", reason));
        }
        if !pages.contains(&self.page_bytes) {
            let reason = "must be 1 to 4194304";
            return Err(ConfigError::field("moves.page_bytes", reason));
        }
        Ok(())
    }
}
