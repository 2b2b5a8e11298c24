//! `make up`: from nothing to a Ready KVCluster that has served a key.

use anyhow::Result;

use crate::lab;
use crate::steps::{Steps, cargo};

/// Starts a Kubernetes, installs the operator, applies the example and uses it.
pub(crate) fn up() -> Result<()> {
    lab::requirements()?;
    let mut steps = Steps::new("up");
    steps.command(
        "build",
        &mut cargo(&["build", "--workspace", "--locked", "--bins"]),
    )?;
    steps.run("images", lab::build_images)?;
    steps.run("cluster up", lab::up)?;
    steps.run("operator installed", lab::install)?;
    steps.run("example serves", lab::example)?;
    steps.finish();
    println!(
        "\nInside the cluster's network: e2e/lab/lab run kubectl get kvc,kvn,pods\nEnd it with: make down"
    );
    Ok(())
}

/// Ends what [`up`] started.
pub(crate) fn down() -> Result<()> {
    lab::down()
}
