//! A running `annulus dev` for tests: started on free ports, waited for, killed in several ways.
//!
//! Needs the node's program: `ANNULUS_NODE_BIN`, or `annulus-node` beside the `annulus` under test.
//! Where there is none, tests fail: one that passes without running is worth nothing.
//! `cargo test --workspace` builds it; before `cargo test -p annulus-client` build it with
//! `cargo build -p annulus-node`. Nodes are numbered from 1.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A ring is ready after this time, or the test fails.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// Everything else that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

const POLL_EVERY: Duration = Duration::from_millis(50);

/// The program of the node.
fn node_program() -> PathBuf {
    if let Some(path) = std::env::var_os("ANNULUS_NODE_BIN") {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "ANNULUS_NODE_BIN names {}, which is no file",
            path.display()
        );
        return path;
    }
    let beside = Path::new(env!("CARGO_BIN_EXE_annulus")).with_file_name("annulus-node");
    assert!(
        beside.is_file(),
        "{} does not exist; build the node first (cargo build -p annulus-node, or test with \
         --workspace), or name it with ANNULUS_NODE_BIN",
        beside.display()
    );
    beside
}

/// A running ring. Dropping it kills all of its processes.
pub(crate) struct DevRing {
    child: Child,
    pub(crate) dir: PathBuf,
    pub(crate) base_port: u16,
    pub(crate) nodes: u16,
}

impl DevRing {
    /// Starts a ring on free ports and waits until it is ready.
    pub(crate) fn start(dir: &Path, nodes: u16, more: &[&str]) -> Self {
        Self::start_at(dir, free_base_port(nodes), nodes, more)
    }

    /// Starts a ring and waits until it is ready.
    pub(crate) fn start_at(dir: &Path, base_port: u16, nodes: u16, more: &[&str]) -> Self {
        let mut child = dev_command(dir, base_port, nodes, more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("start annulus dev");
        let stdout = child.stdout.take().expect("it is piped");
        let (lines, first_line) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = lines.send(line); // the test may have ended
            }
        });
        let ring = Self {
            child,
            dir: dir.to_owned(),
            base_port,
            nodes,
        };
        let line = first_line
            .recv_timeout(READY_WITHIN)
            .expect("no line on stdout in time");
        assert_eq!(line, "ready");
        ring
    }

    pub(crate) fn endpoint(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.base_port + 100 * node)
    }

    /// Runs the command against one node.
    pub(crate) fn annulus(&self, node: u16, args: &[&str]) -> Answer {
        annulus(&self.endpoint(node), args)
    }

    /// A running node's process id, from its file.
    pub(crate) fn pid(&self, node: u16) -> Option<Pid> {
        let text = fs::read_to_string(self.dir.join(format!("node-{node}/pid"))).ok()?;
        Some(Pid::from_raw(
            text.trim().parse().expect("a pid file holds a number"),
        ))
    }

    /// SIGKILL to one node; waits until it is gone.
    pub(crate) fn kill_node(&self, node: u16) {
        let pid = self.pid(node).expect("the node runs");
        kill(pid, Signal::SIGKILL).expect("kill the node");
        eventually("the killed node is gone", || self.pid(node) != Some(pid));
    }

    /// SIGKILL to `annulus dev` and all nodes at once; waits until they are gone.
    pub(crate) fn kill_everything(mut self) {
        self.kill_and_wait();
    }

    /// SIGKILL to `annulus dev` alone: its nodes run on.
    pub(crate) fn kill_supervisor(mut self) -> (PathBuf, u16, Vec<Pid>) {
        let pids = (1..=self.nodes).filter_map(|node| self.pid(node)).collect();
        self.child.kill().expect("kill annulus dev");
        self.child.wait().expect("wait for annulus dev");
        let answer = (self.dir.clone(), self.base_port, pids);
        std::mem::forget(self);
        answer
    }

    /// SIGTERM; waits for the end and returns the exit code.
    pub(crate) fn stop(mut self) -> i32 {
        kill(self.supervisor(), Signal::SIGTERM).expect("stop annulus dev");
        let mut status = None;
        eventually("annulus dev ends", || {
            status = self.child.try_wait().expect("wait for annulus dev");
            status.is_some()
        });
        status
            .and_then(|status| status.code())
            .expect("it ends by itself")
    }

    fn supervisor(&self) -> Pid {
        Pid::from_raw(
            self.child
                .id()
                .try_into()
                .expect("process ids are positive"),
        )
    }

    fn kill_and_wait(&mut self) {
        let mut pids: Vec<Pid> = (1..=self.nodes).filter_map(|node| self.pid(node)).collect();
        // The supervisor first, so that it sees no death and starts nothing.
        let _ = self.child.kill();
        for pid in &pids {
            let _ = kill(*pid, Signal::SIGKILL); // may have ended by itself
        }
        let _ = self.child.wait();
        eventually("the killed nodes are gone", || {
            pids.retain(|pid| is_alive(*pid));
            pids.is_empty()
        });
    }
}

impl Drop for DevRing {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill_and_wait();
        }
    }
}

/// Whether a process runs; one that has ended but was not waited for counts as gone.
pub(crate) fn is_alive(pid: Pid) -> bool {
    if kill(pid, None) == Err(Errno::ESRCH) {
        return false;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// `annulus dev` with these arguments, not started yet.
pub(crate) fn dev_command(dir: &Path, base_port: u16, nodes: u16, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annulus"));
    command
        .args([
            "dev",
            "--nodes",
            &nodes.to_string(),
            "--base-port",
            &base_port.to_string(),
        ])
        .arg("--data-dir")
        .arg(dir)
        .args(more)
        .env("ANNULUS_NODE_BIN", node_program());
    command
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    /// The JSON on stdout.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Expects success.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

/// Runs the command against an endpoint.
pub(crate) fn annulus(endpoint: &str, args: &[&str]) -> Answer {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_annulus"))
        .args(["--endpoint", endpoint])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("run annulus");
    Answer {
        code: status.code().expect("it ends by itself"),
        stdout: String::from_utf8(stdout).expect("text"),
        stderr: String::from_utf8(stderr).expect("text"),
    }
}

/// Waits for a condition.
#[expect(clippy::disallowed_methods, reason = "a test waits in real time")]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(POLL_EVERY); // paced: between two looks
    }
}

/// A base port whose nodes' ports are all free, below those that the system gives out by itself.
pub(crate) fn free_base_port(nodes: u16) -> u16 {
    static TURN: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 500).expect("below 500");
    for _ in 0..200 {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let base = 10_000 + (process * 40 + turn * 1_004) % 20_000;
        let mut ports =
            (1..=nodes).flat_map(|node| (0..4).map(move |port| base + 100 * node + port));
        if ports.all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return base;
        }
    }
    panic!("no free ports");
}
