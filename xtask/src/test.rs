//! `make test`: the checks, the workspace's tests, and the scenarios on a real Kubernetes.

use anyhow::{Context, Result};

use crate::beside::Beside;
use crate::steps::{Steps, cargo};
use crate::{lab, simulate, verify};

/// Runs everything, or everything but the scenarios that need a cluster.
pub(crate) fn run(without_cluster: bool) -> Result<()> {
    if !without_cluster {
        // Said before an hour is spent on the rest.
        lab::requirements().context("leave the cluster tests out with `make test E2E=no`")?;
    }
    verify::run()?;
    let mut steps = Steps::new("test");
    steps.command(
        "workspace",
        &mut cargo(&["test", "--workspace", "--locked"]),
    )?;
    if without_cluster {
        steps.command("simulation", &mut simulate::many())?;
        println!("the tests on Kubernetes were left out, as asked");
    } else {
        // Again, because the tests' binaries are built with the tests' features.
        steps.command(
            "build",
            &mut cargo(&["build", "--workspace", "--locked", "--bins"]),
        )?;
        steps.run("images", lab::build_images)?;
        steps.run("cluster up", lab::up)?;
        steps.run("operator installed", lab::install)?;
        let measured = steps.run("scenario that measures", lab::measured_scenario);
        // The others wait for a cluster most of the time: the seeds take what they leave.
        let seeds = Beside::start("simulation", &simulate::many())?;
        let scenarios = steps.run("other scenarios", lab::other_scenarios);
        steps.run("cluster down", lab::down)?;
        let seeds = steps.run("simulation, begun beside the cluster", || seeds.finish());
        measured?;
        scenarios?;
        seeds?;
    }
    steps.finish();
    Ok(())
}
