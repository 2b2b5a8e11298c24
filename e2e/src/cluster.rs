//! A Kubernetes to test on, whatever provides it.
//!
//! Owns the choice: [kind](https://kind.sigs.k8s.io) where a Docker daemon answers, otherwise the
//! lab of network namespaces (`e2e/lab`). Both give three zones, real pods, services, DNS,
//! volumes, and nodes that can be killed or cut off. Nodes go by their Kubernetes names, as
//! `spec.nodeName` of a pod has them.
//!
//! Invariant: from inside [`Lab::command`], pods are reachable by their own IP addresses. Service
//! addresses are not (no kube-proxy runs there).

mod kind;
mod netns;

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use kind::Kind;
use netns::Netns;

/// Neither kind nor the lab can run on this machine.
#[derive(Debug, thiserror::Error)]
#[error(
    "no Kubernetes can be started here.\nkind cannot run: {kind}\nthe lab (e2e/lab) cannot run:\n{netns}"
)]
pub struct NoLab {
    kind: String,
    netns: String,
}

/// A provider of Kubernetes clusters.
#[derive(Debug)]
pub enum Lab {
    /// Nodes are Docker containers.
    Kind(Kind),
    /// Nodes are network namespaces of this machine.
    Netns(Netns),
}

impl Lab {
    /// The provider that works on this machine, or what each of them lacks.
    pub fn detect() -> Result<Self, NoLab> {
        let kind = match Kind::find() {
            Ok(kind) => return Ok(Self::Kind(kind)),
            Err(lacking) => lacking,
        };
        match Netns::find() {
            Ok(netns) => Ok(Self::Netns(netns)),
            Err(netns) => Err(NoLab { kind, netns }),
        }
    }

    /// Starts a cluster of so many nodes, in zones `z1`, `z2`, `z3` in turn. Does nothing when it
    /// runs already.
    pub fn up(&self, nodes: u8) -> Result<()> {
        match self {
            Self::Kind(kind) => kind.up(nodes),
            Self::Netns(lab) => lab.call(["up", &nodes.to_string()]),
        }
    }

    /// Brings the image of an OCI archive to every node.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let path = archive
            .to_str()
            .context("an archive's path must be UTF-8")?;
        match self {
            Self::Kind(kind) => kind.load_image(path),
            Self::Netns(lab) => lab.call(["load", path]),
        }
    }

    /// Ends everything on a node at once, pods included. Its disk stays.
    pub fn kill_node(&self, node: &str) -> Result<()> {
        match self {
            Self::Kind(_) => run(Command::new("docker").args(["kill", node])),
            Self::Netns(lab) => lab.call(["kill-node", Netns::number(node)?]),
        }
    }

    /// Starts a killed node again, on the same disk.
    pub fn start_node(&self, node: &str) -> Result<()> {
        match self {
            Self::Kind(_) => run(Command::new("docker").args(["start", node])),
            Self::Netns(lab) => lab.call(["start-node", Netns::number(node)?]),
        }
    }

    /// Cuts a node off from all others and from the control plane; its pods go on running.
    pub fn partition(&self, node: &str) -> Result<()> {
        match self {
            Self::Kind(_) => Kind::partition(node),
            Self::Netns(lab) => lab.call(["partition", Netns::number(node)?]),
        }
    }

    /// Undoes [`Lab::partition`].
    pub fn heal(&self, node: &str) -> Result<()> {
        match self {
            Self::Kind(_) => Kind::heal(node),
            Self::Netns(lab) => lab.call(["heal", Netns::number(node)?]),
        }
    }

    /// Ends the cluster and deletes all that it kept.
    pub fn down(&self) -> Result<()> {
        match self {
            Self::Kind(kind) => kind.down(),
            Self::Netns(lab) => lab.call(["down"]),
        }
    }

    /// A command that runs where pods can be reached, with `KUBECONFIG` set.
    pub fn command(&self, program: &str) -> Command {
        match self {
            Self::Kind(kind) => kind.command(program),
            Self::Netns(lab) => lab.command(program),
        }
    }
}

/// Runs a command to its end; its output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// Runs a command to its end and gives back what it printed.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
