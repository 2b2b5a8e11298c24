//! `cargo xtask faults`: real nodes under real faults, from the programs of the workspace.

use std::process::Command;

use anyhow::Result;

use crate::cache::{root, target};
use crate::steps::{cargo, execute};

/// Builds the programs and runs them. Ends with a table and the verdict; fails if any promise was broken.
pub(crate) fn run(seed: u64, minutes: u64, nodes: u64) -> Result<()> {
    println!("cargo xtask faults --seed {seed} --minutes {minutes} --nodes {nodes}");
    build()?;
    let mut faults = program();
    faults
        .args(["--seed", &seed.to_string()])
        .args(["--seconds", &(60 * minutes).to_string()])
        .args(["--nodes", &nodes.to_string()]);
    execute(&mut faults)
}

/// One node of five is away for so long: hints bring it what it missed, and, where none are kept, comparisons do.
pub(crate) fn outage(minutes: u64) -> Result<()> {
    build()?;
    for hints in [&[][..], &["--without-hints"]] {
        println!(
            "a node is away for {minutes} min {}",
            hints.first().unwrap_or(&"")
        );
        let mut outage = program();
        outage
            .args(["--outage", &(60 * minutes).to_string()])
            .args(hints);
        execute(&mut outage)?;
    }
    Ok(())
}

fn build() -> Result<()> {
    execute(&mut cargo(&["build", "--workspace", "--locked", "--bins"]))
}

fn program() -> Command {
    let mut faults = Command::new(target().join("debug/annulus-faults"));
    faults
        .arg("--dir")
        .arg(target().join("faults"))
        .current_dir(root());
    faults
}
