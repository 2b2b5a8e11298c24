//! The storage node's program: reads its configuration, runs the node, stops it in order.

use std::process::ExitCode;

use annulus_node::Node;
use annulus_node::args::Args;
use annulus_node::config::Config;
use annulus_node::shutdown::{StopSignals, raise_open_files};
use annulus_node::telemetry::start_logging;
use anyhow::Context as _;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long tasks that are left over at an orderly end may take to go away.
const LAST_TASKS_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

fn main() -> ExitCode {
    let args = Args::parse();
    match args
        .into_config()
        .map_err(anyhow::Error::from)
        .and_then(run)
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not be there yet, or be set to silence.
            eprintln!("annulus-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    start_logging(&config.log)?;
    let open_files = raise_open_files().context("raise the limit on open files")?;
    tracing::info!(
        name = config.name,
        open_files,
        version = env!("CARGO_PKG_VERSION"),
        "starting"
    );
    let wanted = wanted_open_files(&config);
    if open_files < wanted {
        tracing::warn!(
            open_files,
            wanted,
            "the limit on open files is below what all limits allow"
        );
    }
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let ended = runtime.block_on(serve(config));
    if ended.is_ok() {
        // Tasks that were cut off still hold the database: they let go of it before the end of the
        // process tears RocksDB's own threads down under it, which aborts.
        runtime.shutdown_timeout(LAST_TASKS_TIMEOUT);
    } else {
        // Threads that are stuck on a failed disk must not keep the process from ending.
        runtime.shutdown_background();
    }
    ended
}

/// Every connection to a client port, the storage's files, and some for peers and the rest.
fn wanted_open_files(config: &Config) -> u64 {
    const STORAGE_AND_REST: u64 = 8_192;
    u64::try_from(2 * config.limits.max_connections).unwrap_or(u64::MAX) + STORAGE_AND_REST
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut signals = StopSignals::listen().context("listen for signals")?;
    let node = Node::start(config).await?;
    tokio::select! {
        name = signals.next() => tracing::info!(signal = name, "draining"),
        failure = node.failed() => anyhow::bail!(failure),
    }
    tokio::select! {
        ended = node.drain() => Ok(ended?),
        name = signals.next() => anyhow::bail!("{name} while draining: stopped at once"),
    }
}
