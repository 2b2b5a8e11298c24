//! A process of its own that writes and says what was acknowledged, until it is killed or its
//! disk fails: this test binary, started again.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::node::TestNode;

const DIRECTORY: &str = "ANNULUS_CRASH_TEST_DIRECTORY";
const FIRST: &str = "ANNULUS_CRASH_TEST_FIRST";
const WRITERS: u64 = 16;

/// Key and value of the n-th write.
pub(crate) fn nth(n: u64) -> (String, Bytes) {
    let value = format!("value-{n}-").repeat(1 + usize::try_from(n % 40).unwrap());
    (format!("key-{n}"), value.into())
}

/// What a child has said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Acked(u64),
    Fatal,
}

/// A running child.
pub(crate) struct Writer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    /// Starts one that writes the `first`, and every later, write into `directory`.
    pub(crate) fn start(directory: &Path, first: u64) -> Self {
        Self::spawn(
            Command::new(std::env::current_exe().unwrap()),
            directory,
            first,
        )
    }

    /// The same, but no file can grow beyond so many KiB: its log fails sooner or later.
    pub(crate) fn start_with_file_limit(directory: &Path, kib: u64) -> Self {
        let mut command = Command::new("bash");
        // Ignored signals stay ignored over exec: the write fails instead of killing the process.
        let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
        command
            .arg("-c")
            .arg(script)
            .arg(std::env::current_exe().unwrap());
        Self::spawn(command, directory, 0)
    }

    fn spawn(mut command: Command, directory: &Path, first: u64) -> Self {
        command.args(["--exact", "child::as_child", "--ignored", "--nocapture"]);
        command
            .env(DIRECTORY, directory)
            .env(FIRST, first.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Kills the process with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    pub(crate) fn wait(&mut self) {
        self.child.wait().unwrap();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Normally it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Iterator for Writer {
    type Item = Said;

    fn next(&mut self) -> Option<Said> {
        loop {
            let line = self.lines.next()?.unwrap();
            if line.starts_with("fatal ") {
                return Some(Said::Fatal);
            }
            if let Some(n) = line.strip_prefix("acked ") {
                return Some(Said::Acked(n.parse().unwrap()));
            }
        }
    }
}

/// What the child does. Does nothing unless it was started by [`Writer`].
#[test]
#[ignore = "the child process of the other tests"]
fn as_child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let node = TestNode::open(Path::new(&directory)).await.unwrap();
        let node = std::sync::Arc::new(node);
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write_on(node.clone(), first + writer));
        }
        let reason = node.replica.fatal().await;
        println!("fatal {reason}");
        writers.join_all().await;
    });
}

async fn write_on(node: std::sync::Arc<TestNode>, first: u64) {
    for n in (first..).step_by(usize::try_from(WRITERS).unwrap()) {
        let (key, value) = nth(n);
        if node.put(&key, value).await.is_err() {
            return;
        }
        println!("acked {n}");
    }
}
