//! `cargo xtask simulate` and `soak`: simulations of the storage node, from their seeds.

use std::io::{BufRead, BufReader};
use std::path::{PathBuf, absolute};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::cache::root;
use crate::steps::{cargo, execute};

/// Seeds that `make test` runs.
pub(crate) const SEEDS: u64 = 200;

/// How long each lasts, in simulated minutes.
pub(crate) const MINUTES: u64 = 10;

/// How long `make soak` goes on, in minutes.
pub(crate) const SOAK_MINUTES: u64 = 30;

/// How much of the node is real: a test of the storage node each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layer {
    /// Its parts, over a network of requests.
    Simulation,
    /// Whole nodes, over TCP.
    Turmoil,
}

impl Layer {
    fn target(self) -> &'static str {
        match self {
            Self::Simulation => "simulation",
            Self::Turmoil => "turmoil",
        }
    }
}

/// What to simulate.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// What is simulated.
    #[arg(long, value_enum, default_value = "simulation")]
    layer: Layer,
    /// The seed: it decides everything.
    #[arg(long, required_unless_present = "mistakes")]
    seed: Option<u64>,
    /// How long clients and faults go on, in simulated minutes; 10 if it is not said.
    #[arg(long)]
    minutes: Option<u64>,
    /// Make only the faults of these numbers, as `3,17`; `none` leaves all out.
    #[arg(long)]
    only: Option<String>,
    /// Print everything that happens, not only what led to a failure.
    #[arg(long)]
    trace: bool,
    /// Write the recorded history there, for `check-history`.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Make mistakes on purpose instead, and print the seeds that it took to find each.
    #[arg(long, conflicts_with_all = ["seed", "minutes", "only", "trace", "record"])]
    mistakes: bool,
}

/// Runs what was asked for. With a seed the last line is the hash of its events; if a promise is broken,
/// there is a trace and the rule's name instead.
pub(crate) fn run(asked: &Asked) -> Result<()> {
    match asked.seed {
        Some(seed) => run_seed(seed, asked),
        None => execute(&mut test(asked.layer, "mistakes::every_mistake_is_found")),
    }
}

/// The seeds of `make test`, on all processors.
pub(crate) fn many() -> Command {
    let mut command = test(Layer::Simulation, "seeds::every_seed_keeps_the_promises");
    command
        .env("ANNULUS_SEEDS", SEEDS.to_string())
        .env("ANNULUS_SIMULATED_MINUTES", MINUTES.to_string());
    command
}

/// Ever new seeds on all processors, for so many minutes or until one fails.
pub(crate) fn soak(minutes: u64, first_seed: Option<u64>) -> Result<()> {
    let first = first_seed.map_or_else(new_seed, Ok)?;
    println!("cargo xtask soak --minutes {minutes} --first-seed {first}");
    let mut command = test(Layer::Simulation, "seeds::soak");
    command
        .arg("--include-ignored")
        .env("ANNULUS_FIRST_SEED", first.to_string())
        .env("ANNULUS_SOAK_MINUTES", minutes.to_string());
    execute(&mut command)
}

/// A seed that nobody has tried: the time.
#[expect(
    clippy::disallowed_methods,
    reason = "a soak is to be new every time; it prints what repeats it"
)]
fn new_seed() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(since.context("the clock stands before 1970")?.as_secs())
}

/// One of a layer's tests. The whole workspace, so that libraries have the features that they have
/// in every other build.
fn test(layer: Layer, name: &str) -> Command {
    let mut command = cargo(&["test", "--workspace", "--locked", "--quiet"]);
    command.args(["--test", layer.target(), "--"]);
    command.args(["--exact", name, "--nocapture"]);
    command
}

fn run_seed(seed: u64, asked: &Asked) -> Result<()> {
    println!("{}", command_line(seed, asked));
    let mut command = test(asked.layer, "seeds::one_seed");
    command.env("ANNULUS_SEED", seed.to_string());
    if let Some(minutes) = asked.minutes {
        command.env("ANNULUS_SIMULATED_MINUTES", minutes.to_string());
    }
    if let Some(only) = &asked.only {
        command.env("ANNULUS_ONLY_FAULTS", only);
    }
    if asked.trace {
        command.env("ANNULUS_TRACE", "whole");
    }
    if let Some(record) = &asked.record {
        // The test runs in its package's directory.
        command.env("ANNULUS_RECORD", absolute(record)?);
    }
    command.current_dir(root()).stdout(Stdio::piped());
    let mut simulation = command.spawn().context("start cargo")?;
    let output = simulation.stdout.take().context("cargo has no output")?;
    let mut hash = None;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line.starts_with("hash ") {
            hash = Some(line);
        } else {
            println!("{line}");
        }
    }
    let status = simulation.wait().context("wait for cargo")?;
    match hash {
        Some(hash) if status.success() => println!("{hash}"),
        _ => bail!("the simulation found something, see above: {status}"),
    }
    Ok(())
}

fn command_line(seed: u64, asked: &Asked) -> String {
    let minutes = asked.minutes.map(|minutes| format!(" --minutes {minutes}"));
    let only = asked.only.as_ref().map(|only| format!(" --only {only}"));
    let trace = if asked.trace { " --trace" } else { "" };
    let layer = match asked.layer {
        Layer::Simulation => "",
        Layer::Turmoil => " --layer turmoil",
    };
    let (minutes, only) = (minutes.unwrap_or_default(), only.unwrap_or_default());
    format!("cargo xtask simulate{layer} --seed {seed}{minutes}{only}{trace}")
}
