//! `cargo xtask simulate`: one simulation of the storage node, from its seed.

use anyhow::{Context, Result};

use crate::steps::{cargo, execute};

/// Runs a seed; prints its trace if a promise is broken, and the hash of its events if not.
/// `minutes`: how long faults go on, in simulated minutes; without it as the seed says.
pub(crate) fn run(seed: u64, minutes: Option<u64>) -> Result<()> {
    println!("{}", command_line(seed, minutes));
    // The whole workspace, so that libraries have the features that they have in every other build.
    let mut command = cargo(&[
        "test",
        "--workspace",
        "--locked",
        "--quiet",
        "--test",
        "simulation",
    ]);
    command.args(["--", "--exact", "seeds::one_seed", "--nocapture"]);
    command.env("ANNULUS_SEED", seed.to_string());
    if let Some(minutes) = minutes {
        command.env("ANNULUS_SIMULATED_MINUTES", minutes.to_string());
    }
    execute(&mut command).context("the simulation found something, see above")
}

fn command_line(seed: u64, minutes: Option<u64>) -> String {
    let minutes = minutes.map_or_else(String::new, |minutes| format!(" --minutes {minutes}"));
    format!("cargo xtask simulate --seed {seed}{minutes}")
}
