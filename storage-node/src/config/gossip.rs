//! How nodes find out about each other.

use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, fields};
use crate::membership::GossipOptions;

/// Gossip and the detection of failures. The same on every node; `docs/protocol/membership.md` says what
/// follows from other values.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gossip {
    /// How often this node talks to others. Default 1s.
    #[serde(deserialize_with = "fields::duration")]
    pub interval: Duration,
    /// To how many others each time. Default 3.
    pub fanout: usize,
    /// How long an answer may take before others are asked to try. Default 500ms.
    #[serde(deserialize_with = "fields::duration")]
    pub probe_timeout: Duration,
    /// How many others are asked to try. Default 3.
    pub helpers: usize,
    /// How long a node that several others suspect has to contradict before it counts as down; in rings of
    /// more than 100 nodes it grows with their logarithm. Default 8s.
    #[serde(deserialize_with = "fields::duration")]
    pub down_after: Duration,
    /// How many times as long it has when a single node suspects it. Default 3.
    pub longest_factor: u32,
}

impl Default for Gossip {
    fn default() -> Self {
        let GossipOptions {
            interval,
            fanout,
            probe_timeout,
            helpers,
            down_after,
            longest_factor,
        } = GossipOptions::default();
        Self {
            interval,
            fanout,
            probe_timeout,
            helpers,
            down_after,
            longest_factor,
        }
    }
}

impl Gossip {
    pub(crate) fn options(&self) -> GossipOptions {
        GossipOptions {
            interval: self.interval,
            fanout: self.fanout,
            probe_timeout: self.probe_timeout,
            helpers: self.helpers,
            down_after: self.down_after,
            longest_factor: self.longest_factor,
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let within = |path: &'static str, ok: bool, must: &'static str| {
            if ok {
                Ok(())
            } else {
                Err(ConfigError::field(path, must))
            }
        };
        let interval = Duration::from_millis(50)..=Duration::from_secs(60);
        within(
            "gossip.interval",
            interval.contains(&self.interval),
            "must be 50ms to 1m",
        )?;
        within(
            "gossip.fanout",
            (1..=32).contains(&self.fanout),
            "must be 1 to 32",
        )?;
        within(
            "gossip.helpers",
            (1..=32).contains(&self.helpers),
            "must be 1 to 32",
        )?;
        within(
            "gossip.probe_timeout",
            (Duration::from_millis(10)..=self.interval).contains(&self.probe_timeout),
            "must be 10ms at least and gossip.interval at most",
        )?;
        within(
            "gossip.down_after",
            (2 * self.interval..=Duration::from_secs(600)).contains(&self.down_after),
            "must be twice gossip.interval at least, or nobody can contradict in time, and 10m at most",
        )?;
        within(
            "gossip.longest_factor",
            (1..=10).contains(&self.longest_factor),
            "must be 1 to 10",
        )
    }
}
