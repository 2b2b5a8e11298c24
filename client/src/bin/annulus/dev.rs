//! `annulus dev`: a local ring of real node processes. Here it is set up; `driver` runs it.

mod driver;
mod files;
#[cfg(test)]
pub(crate) mod fixtures;
mod founding;
mod layout;
mod leftover;
mod lock;
mod node_calls;
mod process;
mod supervisor;

use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::dev::driver::Driver;
use crate::dev::founding::readdressed;
use crate::dev::layout::Layout;
use crate::exit::{Exit, UsageError};

/// Runs a local ring of real nodes on loopback, without Kubernetes, until it is stopped.
///
/// Node i listens on 127.0.0.1, its ports moved up by 100·i: node 1 on 9700 (client gRPC), 9701
/// (client HTTP), 9702 (peers), 9703 (admin and metrics); node 2 on 9800 to 9803. It prints one line
/// `ready` when all nodes serve. SIGINT and SIGTERM drain it. Started again on the same directory, it
/// goes on with the same data and identities.
///
/// Examples:
///   annulus dev
///   annulus dev --nodes 5 --data-dir /tmp/ring --base-port 20000
///   kill -9 $(cat ~/.local/state/annulus/dev/node-2/pid)    # and watch `annulus status`
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Dev {
    /// How many nodes; what the directory holds, else 3.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(layout::MAX_NODES)))]
    nodes: Option<u16>,

    /// Where data, logs and process ids are kept; $XDG_STATE_HOME/annulus/dev or
    /// ~/.local/state/annulus/dev by default.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Zones that the nodes of a new ring are spread over, in turn. All processes share one machine,
    /// which is one zone, and the shares of one zone's nodes are equal. With more zones, copies go
    /// to different zones first, so zones with unequal numbers of nodes make unequal shares.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(layout::MAX_NODES)))]
    zones: u16,

    /// Node i's first port is 100·i above this.
    #[arg(long, value_name = "PORT", default_value_t = 9600, value_parser = clap::value_parser!(u16).range(1..))]
    base_port: u16,

    /// Starts a node that died again, after a second.
    #[arg(long)]
    respawn: bool,
}

/// Nodes of a new ring.
const DEFAULT_NODES: u16 = 3;

pub(crate) async fn run(command: Dev) -> anyhow::Result<Exit> {
    let program = process::node_program()?;
    let dir = data_dir(command.data_dir)?;
    let unnumbered = Layout::new(&dir, command.base_port, 1).map_err(UsageError)?;
    let _lock = lock::Lock::take(&unnumbered.lock_file())?;
    let ring = files::read_ring(&unnumbered.ring_file())?;
    let existing = ring
        .as_ref()
        .map(|ring| u16::try_from(ring.nodes().len()))
        .transpose()?;
    let nodes = command.nodes.or(existing).unwrap_or(DEFAULT_NODES);
    let layout = Layout::new(&dir, command.base_port, nodes).map_err(UsageError)?;
    let ring = match ring {
        Some(ring) => {
            let now = readdressed(ring.clone(), &layout, nodes)?;
            if now != ring {
                files::write_ring(&layout.ring_file(), &now)?;
            }
            Some(now)
        }
        None => None,
    };
    leftover::stop_leftovers(&layout, nodes).await?;
    check_ports(&layout, nodes)?;
    files::prepare(&layout, nodes)?;
    Driver::new(layout, (nodes, command.zones), program, ring)
        .run(command.respawn)
        .await
}

fn data_dir(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let dir = given
        .or_else(|| Some(variable("XDG_STATE_HOME")?.join("annulus/dev")))
        .or_else(|| Some(variable("HOME")?.join(".local/state/annulus/dev")))
        .ok_or_else(|| UsageError("HOME is not set; give --data-dir DIR".into()))?;
    std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    dir.canonicalize()
        .with_context(|| format!("find {}", dir.display()))
}

/// Says before anything is started that a port is taken.
fn check_ports(layout: &Layout, nodes: u16) -> anyhow::Result<()> {
    for port in (0..nodes).flat_map(|node| layout.ports(node)) {
        if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
            bail!(
                "port {port} is not free ({error}); stop who uses it, or give another --base-port"
            );
        }
    }
    Ok(())
}
