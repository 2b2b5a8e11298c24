//! Nodes that still run from an earlier `annulus dev`, because that was killed before it could stop
//! them. They are recognised by their process id and command line, and stopped.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::sleep;

use super::layout::{Layout, NodeOrdinal, node_name};
use crate::clock;

/// A leftover node gets this time to drain, then it is killed.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// A killed process is gone after this time, or something is wrong.
const KILL_TIME: Duration = Duration::from_secs(5);

/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Stops all leftover nodes and removes their process ids.
pub(super) async fn stop_leftovers(
    layout: &Layout,
    nodes: impl IntoIterator<Item = NodeOrdinal>,
) -> anyhow::Result<()> {
    for node in nodes {
        if let Some(pid) = leftover(layout, node) {
            eprintln!(
                "{} still runs from an earlier start (process {pid}); stopping it",
                node_name(node)
            );
            stop(pid, layout, node).await?;
        }
        let _ = fs::remove_file(layout.pid_file(node)); // most often there is none
    }
    Ok(())
}

async fn stop(pid: Pid, layout: &Layout, node: NodeOrdinal) -> anyhow::Result<()> {
    for (signal, time) in [(Signal::SIGTERM, DRAIN_TIME), (Signal::SIGKILL, KILL_TIME)] {
        match kill(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => bail!(
                "{} (process {pid}) can't be stopped: {error}",
                node_name(node)
            ),
        }
        let give_up = clock::now() + time;
        while leftover(layout, node).is_some() {
            if clock::now() >= give_up {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        if leftover(layout, node).is_none() {
            return Ok(());
        }
    }
    bail!(
        "{} (process {pid}) does not end; stop it by hand",
        node_name(node)
    )
}

/// The process of the pid file, if it is there and is this node's.
fn leftover(layout: &Layout, node: NodeOrdinal) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(layout.pid_file(node))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    if pid <= 1 {
        return None; // signalling 0 or less would mean whole groups
    }
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    is_of(&command_line, &layout.config_file(node)).then(|| Pid::from_raw(pid))
}

/// Whether a command line (arguments with NUL after each) names this configuration file.
fn is_of(command_line: &[u8], config_file: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    command_line
        .split(|byte| *byte == 0)
        .any(|part| part == config_file.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_with_the_node_s_configuration_is_the_node() {
        let config = Path::new("/d/node-1/config.yaml");
        assert!(is_of(
            b"/bin/annulus-node\0--config\0/d/node-1/config.yaml\0",
            config
        ));
        assert!(!is_of(
            b"/bin/annulus-node\0--config\0/d/node-10/config.yaml\0",
            config
        ));
        assert!(!is_of(b"vi /d/node-1/config.yaml\0", config));
        assert!(!is_of(b"", config));
    }

    #[tokio::test]
    async fn a_stale_process_id_is_removed_and_nothing_is_signalled() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), 9600, 1).unwrap();
        fs::create_dir_all(layout.node_dir(0)).unwrap();
        // This test's own process: alive, but no node.
        fs::write(layout.pid_file(0), std::process::id().to_string()).unwrap();
        stop_leftovers(&layout, [0]).await.unwrap();
        assert!(!layout.pid_file(0).exists());
    }
}
