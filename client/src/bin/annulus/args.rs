//! The command line.

use std::time::Duration;

use annulus_client::{Client, ClientError, ClientOptions, Key, KeyspaceName, Routing};
use clap::{Parser, Subcommand};

use crate::output::Format;
use crate::{bench, delete, dev, endpoint, get, node, put, ring, status, text};

/// Annulus: a distributed key-value store without a leader.
///
/// Any node serves every key. Start with a local ring:
///
///   annulus dev &
///   annulus put greeting hello
///   annulus get greeting
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment, after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) connection: Connection,

    /// How answers are printed.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: Format,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 quorum unavailable or timeout.
Set ANNULUS_LOG=debug to see each attempt.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Get(get::Get),
    Put(put::Put),
    Delete(delete::Delete),
    Status(status::StatusArgs),
    Ring(ring::Ring),
    Node(node::NodeArgs),
    Bench(bench::Bench),
    Dev(dev::Dev),
    Drain(dev::Drain),
    Move(dev::Move),
}

/// Where the cluster is.
#[derive(Debug, clap::Args)]
pub(crate) struct Connection {
    /// A node's client gRPC address; any node will do. By default 127.0.0.1:9600 where somebody
    /// listens there, else 127.0.0.1:9700, a local ring's first node.
    #[arg(
        long,
        global = true,
        env = "ANNULUS_ENDPOINT",
        value_name = "HOST:PORT"
    )]
    endpoint: Option<String>,

    /// The longest time for one request, retries included.
    #[arg(long, global = true, default_value = "5s", value_name = "TIME", value_parser = text::duration)]
    pub(crate) timeout: Duration,
}

impl Connection {
    /// A client that sends its requests to the endpoint: for a single request nothing is won by
    /// looking for an owner first, and only the endpoint may be reachable.
    pub(crate) async fn client(&self) -> Result<Client, ClientError> {
        Client::connect([self.endpoint().await], self.options(Routing::Endpoint)).await
    }

    /// The given endpoint and no other, or one of the usual ones.
    pub(crate) async fn endpoint(&self) -> &str {
        match &self.endpoint {
            Some(given) => given,
            None => endpoint::first_listening(endpoint::USUAL).await,
        }
    }

    /// The client's options.
    pub(crate) fn options(&self, routing: Routing) -> ClientOptions {
        ClientOptions {
            routing,
            timeout: self.timeout,
            ..ClientOptions::default()
        }
    }
}

/// Which key.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// The key: 1 to 256 characters.
    #[arg(value_parser = text::key)]
    pub(crate) key: Key,

    /// The keyspace: `kv` keeps concurrent values as siblings, `data` lets the last writer win.
    #[arg(long, default_value = "kv", value_name = "NAME", value_parser = KeyspaceName::new)]
    pub(crate) keyspace: KeyspaceName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_given_endpoint_is_taken_whether_or_not_somebody_listens_there() {
        let args = Args::parse_from(["annulus", "status", "--endpoint", "127.0.0.1:1"]);
        assert_eq!(args.connection.endpoint().await, "127.0.0.1:1");
    }
}
