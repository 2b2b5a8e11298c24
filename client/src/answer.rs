//! What a successful request brings back.

use annulus_proto::kv::v1::{DeleteResponse, GetResponse, PutResponse};
use bytes::Bytes;

use crate::context::Context;

/// What a read saw. A key that is absent, deleted or expired has no values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// One per sibling; exactly one in `lww` keyspaces; none when the key is absent.
    pub values: Vec<Sibling>,
    /// Covers all values (or the delete): give it to the next write. `None` for a key never written.
    pub context: Option<Context>,
    /// `lww` keyspaces: grows with every successful write of the key. 0 elsewhere.
    pub version: u64,
}

/// One of a key's concurrent values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    /// The bytes as written.
    pub value: Bytes,
    /// Covers this sibling alone.
    pub context: Option<Context>,
}

/// What a successful write brings back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writing {
    /// Covers the written value.
    pub context: Option<Context>,
    /// `lww` keyspaces: the key's version. 0 elsewhere.
    pub version: u64,
    /// Fewer owners than were asked for hold the write; other nodes keep it for them, and until then
    /// quorum reads may miss it.
    pub sloppy: bool,
}

/// What a successful delete brings back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Whether there was anything to delete.
    pub deleted: bool,
    /// Covers the delete.
    pub context: Option<Context>,
    /// As in [`Writing`].
    pub sloppy: bool,
}

impl Reading {
    /// Whether the key is absent, deleted or expired.
    pub fn is_absent(&self) -> bool {
        self.values.is_empty()
    }
}

impl From<GetResponse> for Reading {
    fn from(response: GetResponse) -> Self {
        let sibling = |value: annulus_proto::kv::v1::Value| Sibling {
            value: value.value,
            context: Context::from_wire(value.context),
        };
        Self {
            values: response.values.into_iter().map(sibling).collect(),
            context: Context::from_wire(response.context),
            version: response.version,
        }
    }
}

impl From<PutResponse> for Writing {
    fn from(response: PutResponse) -> Self {
        Self {
            context: Context::from_wire(response.context),
            version: response.version,
            sloppy: response.sloppy,
        }
    }
}

impl From<DeleteResponse> for Removal {
    fn from(response: DeleteResponse) -> Self {
        Self {
            deleted: response.deleted,
            context: Context::from_wire(response.context),
            sloppy: response.sloppy,
        }
    }
}
