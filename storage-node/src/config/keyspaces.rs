//! The rules of keyspaces as the configuration gives them.

use annulus_proto::model::{Consistency, KeyspaceName, TimeToLive};
use serde::Deserialize;

use super::{Config, ConfigError, fields};
use crate::keyspace::{ConflictPolicy, DEFAULT_MAX_VALUE_BYTES, Durability, Keyspace, Keyspaces};

/// The largest value that can be allowed: it must fit a few times into the node's memory and
/// into one message between nodes.
const MAX_VALUE_BYTES: usize = 16 << 20;

/// One keyspace's rules; what is left out is the default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyspaceRules {
    /// Default `siblings`, `lww` for `data`.
    pub conflict: Option<ConflictPolicy>,
    /// Replicas that must answer a read. Default: `consistency.read`.
    #[serde(deserialize_with = "fields::optional_consistency")]
    pub read: Option<Consistency>,
    /// Replicas that must hold a write. Default: `consistency.write`.
    #[serde(deserialize_with = "fields::optional_consistency")]
    pub write: Option<Consistency>,
    /// Seconds that a write lives where the request doesn't say. Default: for ever.
    pub default_ttl: Option<i64>,
    /// Default `sync`.
    pub durability: Option<Durability>,
    /// The largest value in bytes. Default 1 MiB.
    pub max_value_bytes: Option<usize>,
    /// Whether requests may ask that other nodes stand in for owners that are away. Quorum reads may
    /// then miss acknowledged writes for a while. Default false.
    pub allow_sloppy: bool,
}

impl Config {
    /// The keyspaces that the node knows.
    pub(crate) fn build_keyspaces(&self) -> Result<Keyspaces, ConfigError> {
        let built_in = [KeyspaceName::kv(), KeyspaceName::data()];
        let unnamed = KeyspaceRules::default();
        let mut all = Vec::new();
        for name in built_in {
            let rules = self.keyspaces.get(name.as_str()).unwrap_or(&unnamed);
            all.push(self.build_keyspace(name, rules)?);
        }
        for (name, rules) in &self.keyspaces {
            let name = KeyspaceName::new(name).map_err(|refused| {
                ConfigError::field(format!("keyspaces.{name}"), refused.reason)
            })?;
            all.push(self.build_keyspace(name, rules)?);
        }
        Ok(Keyspaces::new(all))
    }

    fn build_keyspace(
        &self,
        name: KeyspaceName,
        rules: &KeyspaceRules,
    ) -> Result<Keyspace, ConfigError> {
        let path = |field: &str| format!("keyspaces.{name}.{field}");
        let default_ttl = rules
            .default_ttl
            .map(TimeToLive::from_seconds)
            .transpose()
            .map_err(|refused| ConfigError::field(path("default_ttl"), refused.reason))?;
        let max_value_bytes = rules.max_value_bytes.unwrap_or(DEFAULT_MAX_VALUE_BYTES);
        if !(1..=MAX_VALUE_BYTES).contains(&max_value_bytes) {
            return Err(ConfigError::field(
                path("max_value_bytes"),
                format!("must be 1 to {MAX_VALUE_BYTES}"),
            ));
        }
        let usual = if name == KeyspaceName::data() {
            ConflictPolicy::Lww
        } else {
            ConflictPolicy::Siblings
        };
        let conflict = rules.conflict.unwrap_or(usual);
        if name == KeyspaceName::data() && conflict != ConflictPolicy::Lww {
            return Err(ConfigError::field(
                path("conflict"),
                "must be lww: /v1/data shows no siblings",
            ));
        }
        Ok(Keyspace {
            conflict,
            read: rules.read.unwrap_or(self.consistency.read),
            write: rules.write.unwrap_or(self.consistency.write),
            default_ttl,
            durability: rules.durability.unwrap_or(Durability::Sync),
            max_value_bytes,
            allow_sloppy: rules.allow_sloppy,
            name,
        })
    }
}
