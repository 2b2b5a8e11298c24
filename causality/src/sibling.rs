//! One written value or tombstone, as every replica keeps it.

use bytes::Bytes;

use crate::dot::Dot;
use crate::hlc::HlcStamp;

/// What a write left behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// The written bytes.
    Value(Bytes),
    /// A recorded deletion, or a value that was dropped after it expired.
    Tombstone,
}

impl Content {
    /// Length of the value in bytes; 0 for a tombstone.
    pub fn len(&self) -> usize {
        match self {
            Self::Value(value) => value.len(),
            Self::Tombstone => 0,
        }
    }

    /// Whether no value was written or kept.
    pub fn is_tombstone(&self) -> bool {
        *self == Self::Tombstone
    }

    /// Whether there are no bytes: a tombstone or an empty value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A client's name for one logical write, the same for all its retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// Random id of the client.
    pub client: u64,
    /// Number of the request among the client's.
    pub sequence: u64,
}

/// A value or tombstone that no known write has replaced.
///
/// The dot determines all the rest: two replicas with the same dot have the same sibling (invariant I1), but that
/// a value may be gone once it has expired ([`crate::KeyState::drop_expired`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sibling {
    /// The write event.
    pub dot: Dot,
    /// What was written.
    pub content: Content,
    /// When, in hybrid time.
    pub stamp: HlcStamp,
    /// Wall time, in milliseconds since 1970, from which on the value is hidden; absolute, copied verbatim.
    pub expires_at_ms: Option<u64>,
    /// The client's name of the write.
    pub request_id: Option<RequestId>,
}

impl Sibling {
    /// Whether the value's time is over.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|at| at <= now_ms)
    }

    /// The value, unless this is a tombstone or expired.
    pub fn value(&self, now_ms: u64) -> Option<&Bytes> {
        match &self.content {
            Content::Value(value) if !self.is_expired(now_ms) => Some(value),
            _ => None,
        }
    }
}
