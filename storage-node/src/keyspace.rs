//! Keyspaces: groups of keys under one set of rules.
//!
//! Owns: the rules of each keyspace and the fixed set of those that this node knows. `kv` and
//! `data` always exist.
//!
//! Invariant: the set does not change while the node runs, and every node of a cluster is given
//! the same one (by its configuration).

use std::collections::BTreeMap;
use std::sync::Arc;

use annulus_proto::model::{Consistency, ErrorCode, KeyspaceName, RequestError, TimeToLive};

/// The largest value by default, in bytes.
pub const DEFAULT_MAX_VALUE_BYTES: usize = 1024 * 1024;

/// What becomes of concurrent writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictPolicy {
    /// All are kept until a client merges them.
    Siblings,
    /// The one with the highest hybrid logical stamp wins.
    Lww,
}

impl From<ConflictPolicy> for annulus_causality::ConflictPolicy {
    fn from(policy: ConflictPolicy) -> Self {
        match policy {
            ConflictPolicy::Siblings => Self::Siblings,
            ConflictPolicy::Lww => Self::Lww,
        }
    }
}

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The write is on disk (fsync) on as many replicas as were asked for.
    Sync,
    /// The write is in memory and on its way to the disk there: a crash of them all may lose the
    /// last moments.
    Async,
}

/// One keyspace's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyspace {
    /// Its name.
    pub name: KeyspaceName,
    /// What becomes of concurrent writes.
    pub conflict: ConflictPolicy,
    /// Replicas that must answer a read, where the request doesn't say.
    pub read: Consistency,
    /// Replicas that must hold a write, where the request doesn't say.
    pub write: Consistency,
    /// How long a write lives, where the request doesn't say. `None`: for ever.
    pub default_ttl: Option<TimeToLive>,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// The largest value in bytes.
    pub max_value_bytes: usize,
    /// Whether requests may ask that other nodes stand in for owners that are away.
    pub allow_sloppy: bool,
}

impl Keyspace {
    /// The default rules under a name: quorum reads and writes, synced, no time to live.
    pub fn new(name: KeyspaceName, conflict: ConflictPolicy) -> Self {
        Self {
            name,
            conflict,
            read: Consistency::Quorum,
            write: Consistency::Quorum,
            default_ttl: None,
            durability: Durability::Sync,
            max_value_bytes: DEFAULT_MAX_VALUE_BYTES,
            allow_sloppy: false,
        }
    }
}

/// The keyspaces that this node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyspaces(BTreeMap<KeyspaceName, Arc<Keyspace>>);

impl Keyspaces {
    /// These, with `kv` (siblings) and `data` (lww) at their defaults where they are not given.
    /// Of two with one name the later counts.
    pub fn new(given: impl IntoIterator<Item = Keyspace>) -> Self {
        let built_in = [
            Keyspace::new(KeyspaceName::kv(), ConflictPolicy::Siblings),
            Keyspace::new(KeyspaceName::data(), ConflictPolicy::Lww),
        ];
        let all = built_in.into_iter().chain(given);
        Self(
            all.map(|keyspace| (keyspace.name.clone(), Arc::new(keyspace)))
                .collect(),
        )
    }

    /// The keyspace of that name. An unknown one breaks a rule of the request (it is no absent
    /// key, which would be `not_found`).
    pub fn get(&self, name: &KeyspaceName) -> Result<&Arc<Keyspace>, RequestError> {
        self.0.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.0.keys().map(KeyspaceName::as_str).collect();
            RequestError::rejected(
                ErrorCode::InvalidArgument,
                format!(
                    "keyspace: {name:?} does not exist; there are {}",
                    known.join(", ")
                ),
            )
        })
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Keyspace>> {
        self.0.values()
    }
}

impl Default for Keyspaces {
    fn default() -> Self {
        Self::new([])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kv_and_data_always_exist_and_can_be_given_other_rules() {
        let slow = Keyspace {
            write: Consistency::All,
            ..Keyspace::new(KeyspaceName::data(), ConflictPolicy::Lww)
        };
        let keyspaces = Keyspaces::new([slow]);
        let kv = keyspaces.get(&KeyspaceName::kv()).unwrap();
        assert_eq!(kv.conflict, ConflictPolicy::Siblings);
        assert_eq!(
            keyspaces.get(&KeyspaceName::data()).unwrap().write,
            Consistency::All
        );
    }

    #[test]
    fn an_unknown_keyspace_is_no_absent_key() {
        let unknown = KeyspaceName::new("orders").unwrap();
        let error = Keyspaces::default().get(&unknown).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument);
    }
}
