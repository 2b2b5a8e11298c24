//! `annulus-e2e`: the cluster that scenarios run on, from the command line.

use std::path::PathBuf;

use annulus_e2e::{cluster::Lab, example, installation::install};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Starts and uses a Kubernetes for tests: kind where Docker runs, otherwise e2e/lab.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start a cluster.
    Up {
        /// Number of nodes, in zones z1, z2, z3 in turn.
        #[arg(default_value_t = 3)]
        nodes: u8,
    },
    /// Load the images of the operator and the node, and install the chart.
    Install {
        /// Tag of the images that e2e/lab/image has built.
        #[arg(long, default_value = "dev")]
        tag: String,
    },
    /// Apply the example cluster, write a key through one node and read it through another.
    Example,
    /// Bring OCI archives to every node.
    Load {
        /// The archives.
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Run a command where pods can be reached, with KUBECONFIG set.
    #[command(trailing_var_arg = true)]
    Run {
        /// The command and its arguments.
        #[arg(required = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// End everything on a node at once; its disk stays.
    KillNode {
        /// Kubernetes name of the node.
        node: String,
    },
    /// Start a killed node again.
    StartNode {
        /// Kubernetes name of the node.
        node: String,
    },
    /// Cut a node off.
    Partition {
        /// Kubernetes name of the node.
        node: String,
    },
    /// Undo `partition`.
    Heal {
        /// Kubernetes name of the node.
        node: String,
    },
    /// End the cluster and delete all that it kept.
    Down,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let lab = Lab::detect()?;
    match arguments.command {
        Action::Up { nodes } => lab.up(nodes),
        Action::Install { tag } => install(&lab, &tag),
        Action::Example => example::serve(&lab),
        Action::Load { archives } => archives.iter().try_for_each(|path| lab.load_image(path)),
        Action::Run { command } => run(&lab, &command),
        Action::KillNode { node } => lab.kill_node(&node),
        Action::StartNode { node } => lab.start_node(&node),
        Action::Partition { node } => lab.partition(&node),
        Action::Heal { node } => lab.heal(&node),
        Action::Down => lab.down(),
    }
}

/// Ends with the exit code of the command, so that a failed test fails the caller.
fn run(lab: &Lab, command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().context("a command is needed")?;
    let status = lab
        .command(program)
        .args(arguments)
        .status()
        .with_context(|| format!("start {program}"))?;
    std::process::exit(status.code().unwrap_or(1))
}
