//! `cargo xtask simulate`: one simulation of the storage node, from its seed.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::cache::root;
use crate::steps::cargo;

/// Runs a seed. The last line is the hash of its events; if a promise is broken, there is a trace and
/// the rule's name instead. `minutes`: how long faults go on, in simulated minutes; without it as the
/// seed says.
pub(crate) fn run(seed: u64, minutes: Option<u64>) -> Result<()> {
    println!("{}", command_line(seed, minutes));
    // The whole workspace, so that libraries have the features that they have in every other build.
    let mut command = cargo(&["test", "--workspace", "--locked", "--quiet"]);
    command.args(["--test", "simulation", "--", "--exact", "seeds::one_seed"]);
    command
        .arg("--nocapture")
        .env("ANNULUS_SEED", seed.to_string());
    if let Some(minutes) = minutes {
        command.env("ANNULUS_SIMULATED_MINUTES", minutes.to_string());
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

fn command_line(seed: u64, minutes: Option<u64>) -> String {
    let minutes = minutes.map_or_else(String::new, |minutes| format!(" --minutes {minutes}"));
    format!("cargo xtask simulate --seed {seed}{minutes}")
}
