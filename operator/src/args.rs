//! Command line and environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::crd::ImagePullPolicy;

/// The Annulus operator: keeps KVClusters running.
#[derive(Debug, Parser)]
#[command(name = "annulus-operator", version, about)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(RunArgs),
    /// Write the custom resource definitions to standard output, as YAML.
    Crd,
    /// Write the files that are generated from this program into a folder, at the paths that
    /// they have in the source tree.
    Generate {
        /// The folder.
        #[arg(long)]
        into: PathBuf,
    },
}

/// How to run the operator.
#[derive(Debug, Parser)]
pub struct RunArgs {
    /// Namespace to look after; may be given several times. All namespaces when absent.
    #[arg(
        long = "watch-namespace",
        value_name = "NAMESPACE",
        env = "ANNULUS_OPERATOR_WATCH_NAMESPACES",
        value_delimiter = ','
    )]
    pub watch_namespaces: Vec<String>,
    /// Image of nodes whose KVCluster names none.
    #[arg(long, value_name = "IMAGE", env = "ANNULUS_OPERATOR_NODE_IMAGE")]
    pub node_image: Option<String>,
    /// When nodes pull their image, where the KVCluster does not say.
    #[arg(
        long,
        value_name = "POLICY",
        env = "ANNULUS_OPERATOR_NODE_IMAGE_PULL_POLICY",
        value_enum,
        default_value_t
    )]
    pub node_image_pull_policy: ImagePullPolicy,
    /// Where to serve /livez, /readyz and /metrics.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "ANNULUS_OPERATOR_LISTEN",
        default_value = "0.0.0.0:8080"
    )]
    pub listen: SocketAddr,
    /// Work only while holding a Lease, so that several replicas can run.
    #[arg(
        long,
        env = "ANNULUS_OPERATOR_LEADER_ELECTION",
        default_value_t = true,
        action = clap::ArgAction::Set
    )]
    pub leader_election: bool,
    /// Namespace of the Lease.
    #[arg(long, env = "ANNULUS_OPERATOR_NAMESPACE", default_value = "default")]
    pub lease_namespace: String,
    /// Name of the Lease.
    #[arg(
        long,
        env = "ANNULUS_OPERATOR_LEASE_NAME",
        default_value = "annulus-operator"
    )]
    pub lease_name: String,
    /// This replica's name: the pod's.
    #[arg(long, env = "ANNULUS_OPERATOR_IDENTITY")]
    pub identity: Option<String>,
    /// What to log: a level, or directives such as `info,annulus_operator=debug`.
    #[arg(long, env = "ANNULUS_OPERATOR_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// The form of log lines.
    #[arg(long, env = "ANNULUS_OPERATOR_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    #[default]
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_come_as_flags_or_as_a_list() {
        let args = [
            "x",
            "run",
            "--watch-namespace",
            "a,b",
            "--watch-namespace",
            "c",
        ];
        let Command::Run(run) = Args::parse_from(args).command else {
            panic!("not run")
        };
        assert_eq!(run.watch_namespaces, ["a", "b", "c"]);
        assert!(run.leader_election);
    }
}
