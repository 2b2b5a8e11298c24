//! A node's process: started, watched, asked to end. Its id is in `DIR/node-<i>/pid` while it runs.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::layout::{Layout, NodeOrdinal};
use super::supervisor::Event;

/// Environment variables of the node that would speak against its configuration file.
const NODE_VARIABLES: [&str; 8] = [
    "ANNULUS_NODE_CONFIG",
    "ANNULUS_NODE_NAME",
    "ANNULUS_NODE_DATA_DIR",
    "ANNULUS_NODE_CONTEXT_KEY_FILE",
    "ANNULUS_NODE_LISTEN_GRPC",
    "ANNULUS_NODE_LISTEN_HTTP",
    "ANNULUS_NODE_LISTEN_PEER",
    "ANNULUS_NODE_LISTEN_ADMIN",
];

/// Requests to end that may wait for one process: SIGTERM and SIGKILL.
const MAX_SIGNALS: usize = 4;

/// A running node: a handle on the task that watches its process.
pub(super) struct Process {
    signals: mpsc::Sender<Signal>,
}

impl Process {
    /// Starts the node; its end is told as an [`Event::Exited`].
    pub(super) fn spawn(
        program: &Path,
        layout: &Layout,
        node: NodeOrdinal,
        events: mpsc::Sender<Event>,
        tasks: &TaskTracker,
    ) -> anyhow::Result<Self> {
        let child = start(program, layout, node)?;
        let pid_file = layout.pid_file(node);
        let id = child.id().expect("nobody has waited for it yet");
        fs::write(&pid_file, format!("{id}\n"))
            .with_context(|| format!("write {}", pid_file.display()))?;
        let (signals, asked) = mpsc::channel(MAX_SIGNALS);
        tasks.spawn(async move {
            let how = watch(child, asked).await;
            if let Err(error) = fs::remove_file(&pid_file) {
                warn!(%error, file = %pid_file.display(), "the process id could not be removed");
            }
            // Nobody listens any more only when all is over.
            let _ = events.send(Event::Exited { node, how }).await;
        });
        Ok(Self { signals })
    }

    /// Asks it to end.
    pub(super) fn signal(&self, signal: Signal) {
        // Refused only when the process has ended, or was asked often enough.
        let _ = self.signals.try_send(signal);
    }
}

/// Starts the process. It has a group of its own: Ctrl-C in the terminal reaches only us, and we
/// tell it to drain.
fn start(program: &Path, layout: &Layout, node: NodeOrdinal) -> anyhow::Result<Child> {
    let log_file = layout.log_file(node);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_file)
        .with_context(|| format!("open {}", log_file.display()))?;
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(layout.config_file(node))
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share the log file")?)
        .stderr(log)
        .process_group(0);
    for variable in NODE_VARIABLES {
        command.env_remove(variable);
    }
    command
        .spawn()
        .with_context(|| format!("start {}", program.display()))
}

/// Waits for the end and passes signals on meanwhile. Only here is the process signalled, and only
/// before it was waited for, so its id can't have become another's.
async fn watch(mut child: Child, mut asked: mpsc::Receiver<Signal>) -> String {
    loop {
        tokio::select! {
            ended = child.wait() => return describe(ended),
            Some(signal) = asked.recv() => {
                if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok())
                    && let Err(error) = kill(Pid::from_raw(pid), signal)
                {
                    warn!(%error, pid, %signal, "a node could not be signalled");
                }
            }
        }
    }
}

fn describe(ended: std::io::Result<ExitStatus>) -> String {
    ended.map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// The node's program: named by `ANNULUS_NODE_BIN`, or beside this one.
pub(super) fn node_program() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("ANNULUS_NODE_BIN") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!(
                "ANNULUS_NODE_BIN names {}, which is no file",
                path.display()
            );
        }
        return Ok(path);
    }
    let own = std::env::current_exe().context("find this program")?;
    let beside = own.with_file_name("annulus-node");
    if !beside.is_file() {
        bail!(
            "{} does not exist; install annulus-node beside annulus, or name it with \
             ANNULUS_NODE_BIN",
            beside.display()
        );
    }
    Ok(beside)
}
