//! What may be asked of a coordinator, and the answers. Fields are checked by the edges already.

use annulus_causality::{KeyState, RequestId, VersionVector};
use annulus_proto::model::{Consistency, Key, KeyspaceName, TimeToLive};
use bytes::Bytes;
use tokio::time::Instant;

/// Reads a key.
#[derive(Debug, Clone)]
pub(crate) struct Get {
    /// The keyspace.
    pub(crate) keyspace: KeyspaceName,
    /// The key.
    pub(crate) key: Key,
    /// Owners that must answer; `None`: as the keyspace says.
    pub(crate) read: Option<Consistency>,
    /// The answer must have seen at least this.
    pub(crate) min_context: Option<VersionVector>,
    /// When the caller gives up.
    pub(crate) deadline: Instant,
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// What the owners know together; without siblings when they know nothing. It may hold tombstones
    /// and expired values: show [`KeyState::live`].
    pub(crate) state: KeyState,
    /// The wall time of the answer in milliseconds since 1970, for expiry.
    pub(crate) now_ms: u64,
}

/// Writes a key.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    /// The keyspace.
    pub(crate) keyspace: KeyspaceName,
    /// The key.
    pub(crate) key: Key,
    /// The value.
    pub(crate) value: Bytes,
    /// What the client has seen, verified; empty for a blind write.
    pub(crate) context: VersionVector,
    /// How long the value lives; `None`: as the keyspace says.
    pub(crate) ttl: Option<TimeToLive>,
    /// Owners that must hold the write; `None`: as the keyspace says.
    pub(crate) write: Option<Consistency>,
    /// The client's name of the write; `None`: one is drawn.
    pub(crate) request_id: Option<RequestId>,
    /// Fallbacks may stand in for owners that are away.
    pub(crate) sloppy: bool,
    /// When the caller gives up.
    pub(crate) deadline: Instant,
}

/// A successful write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// What the client has seen now.
    pub(crate) clock: VersionVector,
    /// The key's version in `lww` keyspaces.
    pub(crate) version: u64,
    /// Fewer owners than were asked for hold it; fallbacks keep it for the others.
    pub(crate) sloppy: bool,
}

/// Deletes a key.
#[derive(Debug, Clone)]
pub(crate) struct Delete {
    /// The keyspace.
    pub(crate) keyspace: KeyspaceName,
    /// The key.
    pub(crate) key: Key,
    /// What the client has seen, verified; that is deleted. `None` or empty: what a read now shows.
    pub(crate) context: Option<VersionVector>,
    /// Owners that the read of a delete without context asks; `None`: as the keyspace says.
    pub(crate) read: Option<Consistency>,
    /// Owners that must hold the delete; `None`: as the keyspace says.
    pub(crate) write: Option<Consistency>,
    /// The client's name of the delete; `None`: one is drawn.
    pub(crate) request_id: Option<RequestId>,
    /// Fallbacks may stand in for owners that are away.
    pub(crate) sloppy: bool,
    /// When the caller gives up.
    pub(crate) deadline: Instant,
}

/// A successful delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deleted {
    /// What the client has seen now.
    pub(crate) clock: VersionVector,
    /// Whether there was anything to delete.
    pub(crate) existed: bool,
    /// As in [`Written`].
    pub(crate) sloppy: bool,
}
