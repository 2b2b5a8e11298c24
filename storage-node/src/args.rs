//! Command line and environment: what they say counts over the configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::config::{Config, ConfigError, LogFormat};

/// The Annulus storage node.
#[derive(Debug, Parser)]
#[command(name = "annulus-node", version, about)]
pub struct Args {
    /// The configuration file (YAML).
    #[arg(long, value_name = "FILE", env = "ANNULUS_NODE_CONFIG")]
    pub config: Option<PathBuf>,
    /// The node's name; as `name` in the file.
    #[arg(long, env = "ANNULUS_NODE_NAME")]
    pub name: Option<String>,
    /// The data directory; as `data_dir` in the file.
    #[arg(long, value_name = "DIR", env = "ANNULUS_NODE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// The file with the cluster's secret for contexts; as `context_key_file` in the file.
    #[arg(long, value_name = "FILE", env = "ANNULUS_NODE_CONTEXT_KEY_FILE")]
    pub context_key_file: Option<PathBuf>,
    /// Where to listen for client gRPC; as `listen.grpc` in the file.
    #[arg(long, value_name = "IP:PORT", env = "ANNULUS_NODE_LISTEN_GRPC")]
    pub listen_grpc: Option<SocketAddr>,
    /// Where to listen for client HTTP; as `listen.http` in the file.
    #[arg(long, value_name = "IP:PORT", env = "ANNULUS_NODE_LISTEN_HTTP")]
    pub listen_http: Option<SocketAddr>,
    /// Where to listen for other nodes; as `listen.peer` in the file.
    #[arg(long, value_name = "IP:PORT", env = "ANNULUS_NODE_LISTEN_PEER")]
    pub listen_peer: Option<SocketAddr>,
    /// Where to listen for the operator and metrics; as `listen.admin` in the file.
    #[arg(long, value_name = "IP:PORT", env = "ANNULUS_NODE_LISTEN_ADMIN")]
    pub listen_admin: Option<SocketAddr>,
    /// What is logged; as `log.level` in the file.
    #[arg(long, env = "ANNULUS_NODE_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// The form of log lines; as `log.format` in the file.
    #[arg(long, value_enum, env = "ANNULUS_NODE_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

impl Args {
    /// The configuration: the file's, with what was given here on top; validated.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::parse("")?,
        };
        set(&mut config.name, self.name);
        set(&mut config.data_dir, self.data_dir);
        set(&mut config.context_key_file, self.context_key_file);
        set(&mut config.listen.grpc, self.listen_grpc);
        set(&mut config.listen.http, self.listen_http);
        set(&mut config.listen.peer, self.listen_peer);
        set(&mut config.listen.admin, self.listen_admin);
        set(&mut config.log.level, self.log_level);
        set(&mut config.log.format, self.log_format);
        config.validate()?;
        Ok(config)
    }
}

fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *field = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_count_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.yaml");
        std::fs::write(&file, "{name: a, data_dir: /d, context_key_file: /k}").unwrap();
        let file = file.to_str().unwrap();
        let args = [
            "annulus-node",
            "--config",
            file,
            "--name",
            "b",
            "--listen-http",
            "[::1]:7",
        ];
        let config = Args::parse_from(args).into_config().unwrap();
        assert_eq!(config.name, "b");
        assert_eq!(config.data_dir.to_str(), Some("/d"));
        assert_eq!(config.listen.http.port(), 7);
    }
}
