//! A node's process: started, signalled, waited for.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::fault::NodeOrdinal;
use crate::network;
use crate::site::Site;
use crate::wall_clock::WallClocks;

/// A process that was asked to stop has ended after this time, longer than its own limit for draining.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// A killed process is gone after this time.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// Whether a process may end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// It may not.
    Running,
    /// Its disk is full or damaged: it may.
    MayEnd,
    /// It was stopped or killed, and is not to be there.
    Down,
}

/// One node's process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct NodeProcess {
    node: NodeOrdinal,
    program: PathBuf,
    site: Site,
    clocks: Option<WallClocks>,
    child: Option<Child>,
    pub(crate) expected: Expected,
}

impl NodeProcess {
    /// A node that is not started yet.
    pub(crate) fn new(
        node: NodeOrdinal,
        program: PathBuf,
        site: Site,
        clocks: Option<WallClocks>,
    ) -> Self {
        Self {
            node,
            program,
            site,
            clocks,
            child: None,
            expected: Expected::Down,
        }
    }

    /// Starts it, unless it runs.
    pub(crate) fn start(&mut self) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        let log_file = self.site.log_file(self.node);
        let log = OpenOptions::new().create(true).append(true).open(&log_file);
        let log = log.with_context(|| format!("open {}", log_file.display()))?;
        let mut command = if self.site.is_isolated() {
            let mut nsenter = Command::new("nsenter");
            nsenter
                .arg(format!("--net={}", network::namespace(self.node).display()))
                .args(["--", "env"]);
            nsenter
        } else {
            Command::new("env")
        };
        // Only the node itself is preloaded, and not by what the caller's environment says.
        for (name, value) in self.environment() {
            command.arg(format!("{name}={}", value.display()));
        }
        command
            .arg(&self.program)
            .arg("--config")
            .arg(self.site.config_file(self.node))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log file")?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true);
        self.child = Some(command.spawn().context("start a node")?);
        self.expected = Expected::Running;
        Ok(())
    }

    /// Starts it, unless it runs, and wants it to go on from now on.
    pub(crate) fn start_expected(&mut self) -> Result<()> {
        self.start()?;
        self.expected = Expected::Running;
        Ok(())
    }

    fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let file = self.site.clock_file(self.node);
        let clocks = self.clocks.as_ref();
        clocks.map_or_else(Vec::new, |clocks| clocks.environment(&file).to_vec())
    }

    /// Whether its process is there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.ended().is_none() && self.child.is_some()
    }

    /// How it ended by itself, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.child.as_mut()?.try_wait();
        let status = ended.ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// Sends a signal to a running process.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        // Not waited for yet: the id can't have become another's.
        let Some(id) = self.child.as_ref().and_then(Child::id) else {
            return Ok(());
        };
        let pid = Pid::from_raw(i32::try_from(id).context("a process id")?);
        kill(pid, signal).with_context(|| format!("{signal} to node-{}", self.node + 1))
    }

    /// SIGKILL; gone when this returns.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.expected = Expected::Down;
        self.signal(Signal::SIGKILL)?;
        if let Some(mut child) = self.child.take() {
            let gone = timeout(KILLED_WITHIN, child.wait()).await;
            gone.context("a killed process does not go away")??;
        }
        Ok(())
    }

    /// SIGTERM; gone when this returns. An error if it does not end in order.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.expected = Expected::Down;
        self.signal(Signal::SIGTERM)?;
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let Ok(status) = timeout(STOP_WITHIN, child.wait()).await else {
            self.child = Some(child);
            self.kill().await?;
            bail!(
                "node-{} had not stopped after {STOP_WITHIN:?}",
                self.node + 1
            )
        };
        let status = status?;
        if !status.success() {
            bail!(
                "node-{} was asked to stop and ended with {status}",
                self.node + 1
            );
        }
        Ok(())
    }
}
