//! The five-minute tour as a program: apply the example cluster, write a key through one node, read
//! it through another. What it prints is what a user sees.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cluster::{Lab, output_of, run};
use crate::installation::target_directory;

const NAME: &str = "orders";

/// Applies `docs/examples/orders.yaml` in the default namespace and uses it. Doing it again is harmless.
pub fn serve(lab: &Lab) -> Result<()> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/orders.yaml");
    run(lab.command("kubectl").args(["apply", "-f"]).arg(&manifest))?;
    let wait = [
        "wait",
        "--for=condition=Ready",
        "kvcluster/orders",
        "--timeout=180s",
    ];
    run(lab.command("kubectl").args(wait))?;
    let [first, second] = two_nodes(lab)?;
    run(annulus(lab, &first).args(["put", "greeting", "hello"]))?;
    let read = output_of(annulus(lab, &second).args(["get", "greeting"]))?;
    println!(
        "written through {first}, read through {second}: {}",
        read.trim()
    );
    ensure!(read.contains("hello"), "the other node answered {read:?}");
    run(lab.command("kubectl").args(["get", "kvc"]))
}

fn two_nodes(lab: &Lab) -> Result<[String; 2]> {
    let selector = output_of(lab.command("kubectl").args([
        "get",
        "kvcluster",
        NAME,
        "-o",
        "jsonpath={.status.selector}",
    ]))?;
    let addresses = output_of(lab.command("kubectl").args([
        "get",
        "pods",
        "--selector",
        selector.trim(),
        "-o",
        "jsonpath={.items[*].status.podIP}",
    ]))?;
    let mut addresses = addresses.split_whitespace().map(str::to_owned);
    let first = addresses
        .next()
        .context("the cluster has no pod with an address")?;
    let second = addresses.next().context("the cluster has one pod only")?;
    Ok([first, second])
}

fn annulus(lab: &Lab, node: &str) -> Command {
    let mut command = lab.command(&target_directory().join("debug/annulus").to_string_lossy());
    command.args(["--endpoint", &format!("{node}:9600")]);
    command
}
