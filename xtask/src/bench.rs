//! `make bench`: the libraries' benchmarks, then a local ring of three nodes under load, then what clients notice of
//! background work.
//! Figures are ratios of one run on one machine; `docs/benchmarks.md` keeps a dated set.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache::target;
use crate::steps::{Steps, cargo, execute};

const PORT_OF_NODE_1: &str = "127.0.0.1:9700";
const MIXES: [&str; 3] = ["put", "get", "mixed"];

/// Runs every benchmark.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::new("bench");
    steps.command(
        "libraries",
        &mut cargo(&["bench", "--workspace", "--locked"]),
    )?;
    steps.command(
        "build",
        &mut cargo(&["build", "--release", "--workspace", "--locked", "--bins"]),
    )?;
    let annulus = target().join("release/annulus");
    let data = target().join("bench-data");
    if data.exists() {
        std::fs::remove_dir_all(&data).context("remove an earlier run's data")?;
    }
    let mut ring = start(&annulus, &data)?;
    for mix in MIXES {
        let measured = steps.command(
            &format!("{mix} on three nodes"),
            Command::new(&annulus).args(["--endpoint", PORT_OF_NODE_1, "bench", "--mix", mix]),
        );
        if measured.is_err() {
            stop(&mut ring)?;
            return measured;
        }
    }
    stop(&mut ring)?;
    steps.command(
        "background work beside clients",
        Command::new(target().join("release/annulus-faults"))
            .args(["--beside", "20", "--rate", "400", "--dir"])
            .arg(target().join("bench-beside")),
    )?;
    steps.command(
        "limits of moves, seen from outside",
        Command::new(target().join("release/annulus-faults"))
            .args(["--throttle", "--dir"])
            .arg(target().join("bench-throttle")),
    )?;
    steps.finish();
    Ok(())
}

/// A local ring, once it says that it is ready.
fn start(annulus: &Path, data: &Path) -> Result<Child> {
    let mut ring = Command::new(annulus)
        .args(["dev", "--nodes", "3", "--data-dir"])
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .context("start `annulus dev`")?;
    let output = ring.stdout.take().context("`annulus dev` has no output")?;
    for line in BufReader::new(output).lines() {
        if line?.trim() == "ready" {
            return Ok(ring);
        }
    }
    bail!("`annulus dev` ended before it was ready: {}", ring.wait()?)
}

/// Drains the ring: it is asked, not killed.
fn stop(ring: &mut Child) -> Result<()> {
    execute(Command::new("kill").args(["-TERM", &ring.id().to_string()]))?;
    ring.wait().context("wait for `annulus dev`")?;
    Ok(())
}
