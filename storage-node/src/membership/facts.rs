//! What a node says of itself.

use annulus_ring::RingEpoch;

/// How a node's disk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum DiskState {
    /// Data may grow.
    #[default]
    Ok,
    /// Less than 20 % is free: it takes no vnodes on.
    Low,
    /// So full that data may not grow: it refuses puts, and takes reads and deletes.
    Full,
    /// Part of its data is damaged and not served until it is rebuilt.
    Damaged,
}

/// What a node last said of itself, as far as it has come here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    /// How often its data was opened: its restart count.
    pub(crate) generation: u64,
    /// Clients' requests that it worked on at that moment.
    pub(crate) requests_in_flight: u32,
    /// Its disk.
    pub(crate) disk: DiskState,
    /// Bytes of hints that it keeps for other nodes.
    pub(crate) hint_backlog_bytes: u64,
    /// The placement that it holds; 0: none.
    pub(crate) epoch: RingEpoch,
    /// That placement's fingerprint.
    pub(crate) fingerprint: u64,
}
