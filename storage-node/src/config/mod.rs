//! The node's configuration: one typed value, read once at start.
//!
//! Owns: every setting with its default, and their validation by the field's path. A YAML file is
//! read first; environment variables and flags (`args.rs`) are put on top.
//!
//! Invariant: a field that nobody knows is refused, never ignored.
//!
//! ```yaml
//! name: orders-default-0            # or $ANNULUS_NODE_NAME
//! data_dir: /var/lib/annulus
//! context_key_file: /etc/annulus/context-key
//! listen: {grpc: "0.0.0.0:9600", http: "0.0.0.0:9601", peer: "0.0.0.0:9602", admin: "0.0.0.0:9603"}
//! consistency: {read: quorum, write: quorum}
//! keyspaces:
//!   sessions: {conflict: lww, default_ttl: 3600, durability: async}
//! ```

mod anti_entropy;
mod context_key;
mod fields;
mod gossip;
mod hints;
mod keyspaces;
mod limits;
mod moves;
mod reaping;
mod storage;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use annulus_proto::model::Consistency;
use serde::Deserialize;

pub use anti_entropy::AntiEntropy;
pub use gossip::Gossip;
pub use hints::HintLimits;
pub use keyspaces::KeyspaceRules;
pub use limits::Limits;
pub use moves::Moves;
pub use reaping::Reaping;
pub use storage::{EngineKind, Rebuild, SlowDisk, Storage};

/// The longest name of a node: a Kubernetes object's.
const MAX_NAME_BYTES: usize = 253;

/// The node's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node's name, for people: the `KVNode`, or `node-<i>` of a local ring.
    #[serde(default)]
    pub name: String,
    /// Where everything that must survive a restart lies.
    #[serde(default)]
    pub data_dir: PathBuf,
    /// The cluster's secret for contexts: 32 bytes, raw or as 64 hexadecimal digits. The same on
    /// every node, or a context that one gave out is refused by another.
    #[serde(default)]
    pub context_key_file: PathBuf,
    /// Where to listen.
    #[serde(default)]
    pub listen: Listen,
    /// The defaults of all keyspaces.
    #[serde(default)]
    pub consistency: DefaultConsistency,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
    /// Writes kept for owners that are away.
    #[serde(default)]
    pub hints: HintLimits,
    /// How data is kept.
    #[serde(default)]
    pub storage: Storage,
    /// How nodes find out about each other.
    #[serde(default)]
    pub gossip: Gossip,
    /// How owners compare and mend their copies.
    #[serde(default)]
    pub anti_entropy: AntiEntropy,
    /// When deleted keys and expired values are forgotten.
    #[serde(default)]
    pub reaping: Reaping,
    /// How fast partitions move from node to node.
    #[serde(default)]
    pub moves: Moves,
    /// Keyspaces beside `kv` and `data`, and other rules for these two.
    #[serde(default)]
    pub keyspaces: BTreeMap<String, KeyspaceRules>,
    /// What is logged, and how.
    #[serde(default)]
    pub log: Log,
    /// How long a stopping node finishes what it has begun. Default 20s.
    #[serde(
        default = "default_drain_timeout",
        deserialize_with = "fields::duration"
    )]
    pub drain_timeout: Duration,
}

/// Where to listen; port 0 takes a free one.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Clients, gRPC. Default `0.0.0.0:9600`.
    pub grpc: SocketAddr,
    /// Clients, HTTP. Default `0.0.0.0:9601`.
    pub http: SocketAddr,
    /// Other nodes. Default `0.0.0.0:9602`.
    pub peer: SocketAddr,
    /// The operator and metrics. Default `0.0.0.0:9603`.
    pub admin: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        Self {
            grpc: any(9600),
            http: any(9601),
            peer: any(9602),
            admin: any(9603),
        }
    }
}

/// How many replicas take part where neither the request nor the keyspace says.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DefaultConsistency {
    /// Replicas that must answer a read. Default `quorum`.
    #[serde(deserialize_with = "fields::consistency")]
    pub read: Consistency,
    /// Replicas that must hold a write. Default `quorum`.
    #[serde(deserialize_with = "fields::consistency")]
    pub write: Consistency,
}

impl Default for DefaultConsistency {
    fn default() -> Self {
        Self {
            read: Consistency::Quorum,
            write: Consistency::Quorum,
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, or directives such as `info,annulus_node::coordinator=debug`. Default `info`.
    pub level: String,
    /// Default `text`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the configuration can't be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("read configuration file {path:?}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no configuration.
    #[error("configuration: {0}")]
    Parse(String),
    /// A field's value can't be used.
    #[error("configuration: {path}: {reason}")]
    Field {
        /// The field's path.
        path: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
}

impl ConfigError {
    pub(crate) fn field(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field {
            path: path.into(),
            reason: reason.into(),
        }
    }
}

impl Config {
    /// Reads a file. Not validated yet, for flags may still fill what it leaves out.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text)
    }

    /// Reads YAML. Not validated yet.
    pub fn parse(yaml: &str) -> Result<Self, ConfigError> {
        let yaml = if yaml.trim().is_empty() { "{}" } else { yaml };
        serde_saphyr::from_str(yaml).map_err(|error| ConfigError::Parse(error.to_string()))
    }

    /// Checks what no single field shows.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES || !is_plain(&self.name) {
            return Err(ConfigError::field(
                "name",
                "must be 1 to 253 letters, digits, '-', '_' or '.'; \
                 give it in the file or as ANNULUS_NODE_NAME",
            ));
        }
        for (path, value) in [
            ("data_dir", &self.data_dir),
            ("context_key_file", &self.context_key_file),
        ] {
            if value.as_os_str().is_empty() {
                return Err(ConfigError::field(path, "must be given"));
            }
        }
        self.limits.validate()?;
        self.hints.validate()?;
        self.storage.validate()?;
        self.gossip.validate()?;
        self.anti_entropy.validate()?;
        self.moves.validate()?;
        self.reaping.validate(&self.limits, &self.hints)?;
        self.build_keyspaces().map(drop)
    }
}

/// The name goes into headers, labels and Kubernetes objects.
fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn default_drain_timeout() -> Duration {
    Duration::from_secs(20)
}

#[cfg(test)]
mod tests;
