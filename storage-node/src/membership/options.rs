//! What gossip goes by.

use std::time::Duration;

/// See the fields. Checked where they are configured (`config`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GossipOptions {
    /// How often this node talks to others.
    pub(crate) interval: Duration,
    /// To how many others each time.
    pub(crate) fanout: usize,
    /// How long an answer may take before others are asked to try.
    pub(crate) probe_timeout: Duration,
    /// How many others are asked to try.
    pub(crate) helpers: usize,
    /// How long a suspicion that several nodes share lasts, in a ring of up to 100 nodes.
    pub(crate) down_after: Duration,
    /// How many times as long one lasts that a single node holds.
    pub(crate) longest_factor: u32,
}

impl Default for GossipOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            fanout: 3,
            probe_timeout: Duration::from_millis(500),
            helpers: 3,
            down_after: Duration::from_secs(8),
            longest_factor: 3,
        }
    }
}
