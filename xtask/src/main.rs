//! Development tasks: what builds, generates, checks and measures. `make help` lists the usual ways in.
//!
//! Owns: the order of steps behind every make target, the caches outside the tree, the generated
//! files, and the tidiness rules. Leaves to others: Kubernetes itself (`e2e/lab`), and what the
//! steps run.
#![forbid(unsafe_code)]

mod archive;
mod bench;
mod cache;
mod generated;
mod lab;
mod simulate;
mod steps;
mod test;
mod tidy;
mod tools;
mod up;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks of Annulus.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the RocksDB archive that every profile links, unless the cache has it.
    RocksdbArchive,
    /// Write the generated files: CRDs, the charts' copies of them, the tables in the docs.
    Generate,
    /// Check everything without changing anything: format, lints, docs, generated files, licences,
    /// protobuf, charts, tidiness.
    Verify,
    /// Check the tree against the rules that no other tool knows.
    Tidy,
    /// Run every test: `verify`, the workspace's tests, and those on a real Kubernetes.
    Test {
        /// Leave out the tests that need a cluster.
        #[arg(long)]
        without_cluster: bool,
    },
    /// Start a cluster with the operator and a KVCluster of three nodes, and write and read a key.
    Up,
    /// End what `up` started.
    Down,
    /// Run a whole cluster in one thread under the faults of a seed, and judge what it did.
    Simulate {
        /// The seed: it decides everything.
        #[arg(long)]
        seed: u64,
        /// Simulated minutes of faults; without it, as the seed says.
        #[arg(long)]
        minutes: Option<u64>,
    },
    /// Run the benchmarks: the libraries', and a local ring of three nodes under load.
    Bench,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::RocksdbArchive => archive::build(),
        Task::Generate => generated::write(),
        Task::Verify => verify::run(),
        Task::Tidy => tidy::run(),
        Task::Test { without_cluster } => test::run(without_cluster),
        Task::Up => up::up(),
        Task::Down => up::down(),
        Task::Simulate { seed, minutes } => simulate::run(seed, minutes),
        Task::Bench => bench::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
