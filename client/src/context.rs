//! What a client has seen of a key.

use std::fmt;

use bytes::Bytes;

/// An opaque token that an answer carries and the next request about the same key gives back.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Context(Bytes);

impl Context {
    /// As on the wire, where empty means that there is none.
    pub fn from_wire(bytes: Bytes) -> Option<Self> {
        (!bytes.is_empty()).then_some(Self(bytes))
    }

    /// The encoded form, for storing it elsewhere.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn to_wire(context: Option<&Self>) -> Bytes {
        context.map(|context| context.0.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({} bytes)", self.0.len())
    }
}
