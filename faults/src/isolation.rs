//! Namespaces of our own for mounts, network and processes, entered before anything else is done.
//!
//! All that a run makes (network namespaces, a bridge, mounts, node processes) lives inside of them, so the kernel
//! removes it with the run's first process, however that ends. Nothing outside is touched: no name, no
//! address and no mount is shared with the machine.
//!
//! Where that is not permitted, a run goes on without: on loopback, and without the kinds of faults
//! that need it. It says so, loudly.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Set for the process inside.
const INSIDE: &str = "ANNULUS_FAULTS_INSIDE";

/// Where a run takes place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// In namespaces of its own.
    Namespaces,
    /// On the machine's loopback.
    Loopback {
        /// Why not in namespaces.
        why: String,
    },
}

/// Enters namespaces by starting this program again inside of them, with the same arguments. Returns only where
/// it is inside already, or can't be.
pub fn enter() -> Result<Isolation> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(Isolation::Namespaces);
    }
    let mut refusals = Vec::new();
    for way in [&[][..], &["--map-root-user"]] {
        match probe(way) {
            Ok(()) => {
                let mut inside = unshare(way);
                inside
                    .arg(std::env::current_exe()?)
                    .args(std::env::args_os().skip(1).collect::<Vec<OsString>>())
                    .env(INSIDE, "1");
                // Only returns if it fails.
                bail!("start inside of namespaces: {}", inside.exec());
            }
            Err(why) => refusals.push(why),
        }
    }
    Ok(Isolation::Loopback {
        why: refusals.join("; "),
    })
}

/// `kill-child`: when this process is killed, its namespaces' first process is too, and with it all others.
fn unshare(way: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(way)
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child=KILL"])
        .args(["--mount-proc", "--"]);
    command
}

/// Whether all that a run needs can be done.
fn probe(way: &[&str]) -> Result<(), String> {
    let script = "ip link set lo up && mount -t tmpfs tmpfs /mnt && nft add table inet probe && ip link add br0 type bridge";
    let output = unshare(way)
        .args(["sh", "-c", script])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("unshare: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("unshare {}: {}", way.join(" "), said.trim()))
}
