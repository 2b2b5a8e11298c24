//! A write on its way to an owner that mints its dot, and what it came to.

use annulus_causality::{RequestId, VersionVector};
use annulus_proto::model::{Key, KeyspaceName, TimeToLive};
use bytes::Bytes;

/// A write for an owner to coordinate; quorums are numbers already.
#[derive(Debug, Clone)]
pub(crate) struct ForwardedWrite {
    /// The keyspace.
    pub(crate) keyspace: KeyspaceName,
    /// The key.
    pub(crate) key: Key,
    /// The value; `None` deletes.
    pub(crate) value: Option<Bytes>,
    /// What the client has seen.
    pub(crate) context: VersionVector,
    /// How long it lives.
    pub(crate) ttl: Option<TimeToLive>,
    /// Owners that must hold it.
    pub(crate) write_quorum: usize,
    /// Owners that the first read of a delete asks.
    pub(crate) read_quorum: usize,
    /// The name of the write.
    pub(crate) request_id: RequestId,
    /// Fallbacks may stand in for owners that are away.
    pub(crate) sloppy: bool,
}

/// What a forwarded write came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForwardedAnswer {
    /// What the client has now seen.
    pub(crate) clock: VersionVector,
    /// The key's version in `lww` keyspaces.
    pub(crate) version: u64,
    /// Delete: whether there was anything to delete.
    pub(crate) existed: bool,
    /// Fewer owners than were asked for hold it; fallbacks keep it for the others.
    pub(crate) sloppy: bool,
}
