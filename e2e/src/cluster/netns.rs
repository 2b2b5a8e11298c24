//! The lab of network namespaces: a thin call of the script `e2e/lab/lab`, which owns the rest.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

use super::run;

/// The script that starts nodes as network namespaces.
#[derive(Debug)]
pub struct Netns {
    script: PathBuf,
}

impl Netns {
    /// The lab, or the list of what this machine lacks for it.
    pub(super) fn find() -> Result<Self, String> {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("lab/lab");
        let check = Command::new(&script)
            .arg("check")
            .output()
            .map_err(|error| format!("{} does not start: {error}", script.display()))?;
        if check.status.success() {
            Ok(Self { script })
        } else {
            Err(String::from_utf8_lossy(&check.stderr).into_owned())
        }
    }

    pub(super) fn call<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
        run(Command::new(&self.script).args(arguments))
    }

    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(&self.script);
        command.args(["run", program]);
        command
    }

    /// The lab calls its nodes by number: `node2` is 2.
    pub(super) fn number(node: &str) -> Result<&str> {
        node.strip_prefix("node")
            .with_context(|| format!("the lab's nodes are node1, node2, …, not {node}"))
    }
}
