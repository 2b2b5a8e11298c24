//! `cargo xtask faults`: real nodes under real faults, from the programs of the workspace.

use std::process::Command;

use anyhow::Result;

use crate::cache::{root, target};
use crate::steps::{cargo, execute};

/// Builds the programs and runs them. Ends with a table and the verdict; fails if any promise was broken.
pub(crate) fn run(seed: u64, minutes: u64, nodes: u64) -> Result<()> {
    println!("cargo xtask faults --seed {seed} --minutes {minutes} --nodes {nodes}");
    execute(&mut cargo(&["build", "--workspace", "--locked", "--bins"]))?;
    let mut faults = Command::new(target().join("debug/annulus-faults"));
    faults
        .args(["--seed", &seed.to_string()])
        .args(["--seconds", &(60 * minutes).to_string()])
        .args(["--nodes", &nodes.to_string()])
        .arg("--dir")
        .arg(target().join("faults"))
        .current_dir(root());
    execute(&mut faults)
}
