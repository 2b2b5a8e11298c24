//! The Kubernetes for tests, through the `annulus-e2e` program and the scripts in `e2e/lab`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{root, target};
use crate::steps::execute;

/// Installs what the lab lacks, and fails with the reasons where no cluster can run.
pub(crate) fn requirements() -> Result<()> {
    execute(&mut script("lab", &["deps"]))?;
    execute(&mut script("lab", &["check"]))
}

/// The images of this tree's binaries.
pub(crate) fn build_images() -> Result<()> {
    execute(&mut script("lab", &["build"]))?;
    execute(&mut script("image", &["--profile", "debug"]))
}

/// A cluster of three nodes in three zones; nothing happens when it is up.
pub(crate) fn up() -> Result<()> {
    execute(program().arg("up"))
}

/// The operator, by its chart.
pub(crate) fn install() -> Result<()> {
    execute(program().arg("install"))
}

/// The example KVCluster, and a key written through one of its nodes and read through another.
pub(crate) fn example() -> Result<()> {
    execute(program().arg("example"))
}

/// The scenario that compares percentiles: nothing else is to run beside it.
const MEASURES: &str = "scales_under_load";

/// The scenario that measures.
pub(crate) fn measured_scenario() -> Result<()> {
    run_scenarios(&[MEASURES.to_owned()])
}

/// Every other scenario, one after the other: they break things, and two cores are soon busy.
pub(crate) fn other_scenarios() -> Result<()> {
    let tests = root().join("e2e/tests");
    let mut names = Vec::new();
    for entry in fs::read_dir(&tests).with_context(|| format!("read {}", tests.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().and_then(|stem| stem.to_str());
            names.extend(name.filter(|name| *name != MEASURES).map(str::to_owned));
        }
    }
    names.sort();
    run_scenarios(&names)
}

fn run_scenarios(names: &[String]) -> Result<()> {
    // With the whole workspace, or cargo would build a hundred crates anew with other features.
    let scenarios = names.iter().flat_map(|name| ["--test", name.as_str()]);
    execute(
        program()
            .args([
                "run",
                "cargo",
                "test",
                "--workspace",
                "--locked",
                "--offline",
                "--no-fail-fast",
            ])
            .args(scenarios)
            .args(["--", "--ignored", "--test-threads=1", "--nocapture"]),
    )
}

/// Ends the cluster. On a tree without the program there is only the lab to end.
pub(crate) fn down() -> Result<()> {
    if target().join("debug/annulus-e2e").exists() {
        execute(program().arg("down"))
    } else {
        execute(&mut script("lab", &["down"]))
    }
}

/// Lints the charts, renders them and tests what comes out. What the API server thinks of it, the
/// scenarios see.
pub(crate) fn check_charts() -> Result<()> {
    execute(&mut script("lab", &["build"]))?;
    execute(&mut script("charts", &[]))
}

fn script(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(root().join("e2e/lab").join(name));
    command.args(arguments);
    command
}

fn program() -> Command {
    Command::new(target().join("debug").join("annulus-e2e"))
}
