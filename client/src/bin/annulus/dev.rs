//! `annulus dev`: a local ring of real node processes. Here it is set up; `driver` runs it.

mod driver;
mod files;
#[cfg(test)]
pub(crate) mod fixtures;
mod founding;
mod layout;
mod leftover;
mod lock;
mod moving;
mod node_calls;
mod process;
mod supervisor;
mod wanted;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;

use annulus_ring::Placement;
use anyhow::{Context, bail};

use crate::dev::driver::Driver;
use crate::dev::founding::{FoundingError, readdressed};
use crate::dev::layout::{Layout, NodeOrdinal};
use crate::dev::wanted::{Request, Wanted};
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
///   annulus dev add                # while it runs: one node more
///   annulus dev remove node-2      # moves its data away, then ends it
///   kill -9 $(cat ~/.local/state/annulus/dev/node-2/pid)    # and watch `annulus status`
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Dev {
    /// How many nodes; what the directory holds, else 3.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(layout::MAX_NODES)))]
    nodes: Option<u16>,

    /// Where data, logs and process ids are kept; $XDG_STATE_HOME/annulus/dev or
    /// ~/.local/state/annulus/dev by default.
    #[arg(long, global = true, value_name = "DIR")]
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

    #[command(subcommand)]
    command: Option<DevCommand>,
}

/// How the local ring is to change.
#[derive(Debug, clap::Subcommand)]
enum DevCommand {
    /// Adds a node to the local ring. It gets its share of the data while requests go on.
    Add,
    /// Removes a node from the local ring, after its data was moved to the others. Its directory stays.
    Remove {
        /// Its name, such as node-2.
        node: String,
    },
}

/// Empties a node of a local ring: its data moves to the others; it stays a member.
///
/// On Kubernetes: kubectl annotate kvn NODE annulus.dev/drain=true
/// (and annulus.dev/drain- to take it back). To have a node leave for good, lower the number of nodes:
/// kubectl scale kvc/CLUSTER --replicas N
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Drain {
    /// Its name, such as node-2.
    node: String,

    /// The local ring's directory, as of `annulus dev`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Looks after moves of data between nodes.
#[derive(Debug, clap::Args)]
pub(crate) struct Move {
    #[command(subcommand)]
    command: MoveCommand,
}

#[derive(Debug, clap::Subcommand)]
enum MoveCommand {
    /// Calls off what changes a local ring: it goes back to the nodes that it had before.
    ///
    /// Moves that are nearly over end first, and are taken back then.
    ///
    /// On Kubernetes the spec is what counts: set the number of nodes back, with
    /// kubectl scale kvc/CLUSTER --replicas N
    #[command(verbatim_doc_comment)]
    Cancel {
        /// The local ring's directory, as of `annulus dev`.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}

pub(crate) fn drain(command: Drain) -> anyhow::Result<Exit> {
    ask(command.data_dir, &Request::Drain(command.node))
}

pub(crate) fn change_moves(command: Move) -> anyhow::Result<Exit> {
    let MoveCommand::Cancel { data_dir } = command.command;
    ask(data_dir, &Request::Cancel)
}

/// Writes a request down for the ring that runs in the directory, or is started there next.
fn ask(dir: Option<PathBuf>, request: &Request) -> anyhow::Result<Exit> {
    // The ports are the running ring's affair.
    let layout = Layout::new(&data_dir(dir)?, 1, layout::MAX_NODES).map_err(UsageError)?;
    let told = wanted::ask(&layout, request)?;
    eprintln!("{told}; `annulus status --watch` shows how far it is");
    Ok(Exit::Done)
}

/// Nodes of a new ring.
const DEFAULT_NODES: u16 = 3;

pub(crate) async fn run(command: Dev) -> anyhow::Result<Exit> {
    match command.command {
        Some(DevCommand::Add) => return ask(command.data_dir, &Request::Add),
        Some(DevCommand::Remove { node }) => return ask(command.data_dir, &Request::Remove(node)),
        None => {}
    }
    let program = process::node_program()?;
    let dir = data_dir(command.data_dir)?;
    let unnumbered = Layout::new(&dir, command.base_port, 1).map_err(UsageError)?;
    let _lock = lock::Lock::take(&unnumbered.lock_file())?;
    let ring = files::read_ring(&unnumbered.ring_file())?;
    let nodes = first_nodes(ring.as_ref(), &unnumbered, command.nodes)?;
    let most = nodes.iter().max().map_or(1, |last| last + 1);
    let layout = Layout::new(&dir, command.base_port, most).map_err(UsageError)?;
    let ring = match ring {
        Some(ring) => {
            let now = readdressed(ring.clone(), &layout)?;
            if now != ring {
                files::write_ring(&layout.ring_file(), &now)?;
            }
            Some(now)
        }
        None => None,
    };
    leftover::stop_leftovers(&layout, 0..layout::MAX_NODES).await?;
    check_ports(&layout, &nodes)?;
    files::prepare(&layout, nodes.iter().copied())?;
    Driver::new(layout, (nodes, command.zones), program, ring)
        .run(command.respawn)
        .await
}

/// The nodes to start with: those of the ring and those that are to join it, or the asked for number
/// of a new one.
fn first_nodes(
    ring: Option<&Placement>,
    layout: &Layout,
    asked: Option<u16>,
) -> anyhow::Result<BTreeSet<NodeOrdinal>> {
    let Some(ring) = ring else {
        return Ok((0..asked.unwrap_or(DEFAULT_NODES)).collect());
    };
    let existing = ring.nodes().len();
    if let Some(asked) = asked.filter(|asked| usize::from(*asked) != existing) {
        return Err(FoundingError::WrongSize { existing, asked }.into());
    }
    let mut nodes = Wanted::of(ring).nodes;
    nodes.extend(
        wanted::read(&layout.wanted_file())?
            .unwrap_or_default()
            .nodes,
    );
    Ok(nodes)
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
fn check_ports(layout: &Layout, nodes: &BTreeSet<NodeOrdinal>) -> anyhow::Result<()> {
    for port in nodes.iter().flat_map(|node| layout.ports(*node)) {
        if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
            bail!(
                "port {port} is not free ({error}); stop who uses it, or give another --base-port"
            );
        }
    }
    Ok(())
}
