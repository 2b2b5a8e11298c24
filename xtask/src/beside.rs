//! A command that runs beside the steps of a task, at the lowest priority, on what they leave of the
//! processors. Its output is kept and printed when it is waited for.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};

use crate::cache::{root, target};

/// Such a command, under way. Dropped, it is still waited for: nothing is left running.
pub(crate) struct Beside {
    child: Child,
    log: PathBuf,
}

impl Beside {
    /// Starts it; its output goes to a file of that name.
    pub(crate) fn start(name: &str, command: &Command) -> Result<Self> {
        let log = target().join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut nice = Command::new("nice");
        nice.args(["-n", "19"]).arg(command.get_program());
        nice.args(command.get_args()).current_dir(root());
        for (key, value) in command.get_envs() {
            if let Some(value) = value {
                nice.env(key, value);
            }
        }
        nice.stdout(file.try_clone()?).stderr(file);
        let child = nice.spawn().with_context(|| format!("start {nice:?}"))?;
        Ok(Self { child, log })
    }

    /// Waits for it and prints what it said. An error if it failed.
    pub(crate) fn finish(mut self) -> Result<()> {
        let status = self.child.wait().context("wait for it")?;
        let said = std::fs::read_to_string(&self.log)
            .with_context(|| format!("read {}", self.log.display()))?;
        println!("{}", said.trim_end());
        if !status.success() {
            bail!("it ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.wait(); // at once, if it was waited for before
    }
}
