//! Development tasks: what builds, generates, checks and measures. `make help` lists the usual ways in.
//!
//! Owns: the order of steps behind every make target, the caches outside the tree, the generated
//! files, and the tidiness rules. Leaves to others: Kubernetes itself (`e2e/lab`), and what the
//! steps run.
#![forbid(unsafe_code)]

mod archive;
mod bench;
mod beside;
mod cache;
mod check_history;
mod faults;
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
    Simulate(simulate::Asked),
    /// Run ever new seeds for so many minutes, or until one breaks a promise.
    Soak {
        /// Minutes of real time.
        #[arg(long, default_value_t = simulate::SOAK_MINUTES)]
        minutes: u64,
        /// The first seed; the time if it is not said.
        #[arg(long)]
        first_seed: Option<u64>,
    },
    /// Judge a recorded history, as JSON lines, by what the store promises.
    CheckHistory(check_history::Asked),
    /// Run real nodes under real faults (killed, cut off, with full and damaged disks), and judge what they did.
    Faults {
        /// The seed: it decides which faults come when, and what clients ask.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How long faults go on.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// How many nodes.
        #[arg(long, default_value_t = 5)]
        nodes: u64,
    },
    /// Run real nodes under load of which one is away for long: with hints, and then without
    Outage {
        /// How long it is away.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
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
        Task::Simulate(asked) => simulate::run(&asked),
        Task::Soak {
            minutes,
            first_seed,
        } => simulate::soak(minutes, first_seed),
        Task::CheckHistory(asked) => check_history::run(&asked),
        Task::Faults {
            seed,
            minutes,
            nodes,
        } => faults::run(seed, minutes, nodes),
        Task::Outage { minutes } => faults::outage(minutes),
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
