//! Names of keyspaces.

use std::fmt;
use std::sync::Arc;

use super::FieldRefused;

/// The longest name in bytes.
pub const MAX_KEYSPACE_NAME_BYTES: usize = 63;

/// A keyspace's name: 1 to 63 lower-case letters, digits and hyphens, beginning with a letter
/// (a DNS label, so that it can name a Kubernetes object). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceName(Arc<str>);

impl KeyspaceName {
    /// Checks the form. Whether such a keyspace exists is the node's to say.
    pub fn new(name: &str) -> Result<Self, FieldRefused> {
        let well_formed = name.len() <= MAX_KEYSPACE_NAME_BYTES
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && !name.ends_with('-')
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if well_formed {
            Ok(Self(name.into()))
        } else {
            Err(FieldRefused::invalid(
                "keyspace",
                "must be 1 to 63 lower-case letters, digits and hyphens, and begin with a letter",
            ))
        }
    }

    /// The keyspace of `/kv/…`, which is meant where none is named.
    pub fn kv() -> Self {
        Self("kv".into())
    }

    /// The keyspace of `/v1/data/…`.
    pub fn data() -> Self {
        Self("data".into())
    }

    /// As on the wire: empty means `kv`.
    pub fn from_wire(name: &str) -> Result<Self, FieldRefused> {
        if name.is_empty() {
            Ok(Self::kv())
        } else {
            Self::new(name)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for KeyspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dns_labels_are_names() {
        for good in ["kv", "data", "a", "orders-2"] {
            assert!(KeyspaceName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "2a", "-a", "a-", "A", "a_b", "a/b", &"a".repeat(64)] {
            assert!(KeyspaceName::new(bad).is_err(), "{bad}");
        }
    }
}
