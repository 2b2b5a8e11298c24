//! A command that runs beside the steps of a task, at the lowest priority, on what they leave of the
//! processors. Its output is kept and printed when it is waited for.
//!
//! Linux weighs sessions against each other before it looks at niceness (autogroups, sched(7)), and a cluster under test has
//! sessions of its own. So the command gets one too, of the lowest weight; and it ends with whoever started it.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};

use crate::cache::{root, target};

/// Where sessions are not weighed, nothing can be set.
const IN_ITS_OWN_SESSION: &str =
    "echo 19 2>/dev/null >/proc/self/autogroup; exec nice -n 19 \"$@\"";

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
        let mut nice = Command::new("setsid");
        nice.args(["setpriv", "--pdeathsig", "TERM", "sh", "-c"]);
        nice.args([IN_ITS_OWN_SESSION, "sh"])
            .arg(command.get_program());
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
