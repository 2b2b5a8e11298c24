//! Runs commands as named steps, and says at the end what ran and how long it took.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cache::root;

/// The steps of one task.
pub(crate) struct Steps {
    task: &'static str,
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// No step yet.
    pub(crate) fn new(task: &'static str) -> Self {
        Self {
            task,
            done: Vec::new(),
        }
    }

    /// Runs a step; when it fails, the task ends there.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("== {}: {name}", self.task);
        let started = now();
        let result = step();
        self.done.push((name.to_owned(), started.elapsed()));
        if result.is_err() {
            self.print("failed");
        }
        result.with_context(|| format!("{}: {name}", self.task))
    }

    /// Runs a command as a step.
    pub(crate) fn command(&mut self, name: &str, command: &mut Command) -> Result<()> {
        self.run(name, || execute(command))
    }

    /// Says what ran.
    pub(crate) fn finish(self) {
        self.print("ok");
    }

    fn print(&self, verdict: &str) {
        println!("\n{} {verdict}:", self.task);
        let width = self
            .done
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0);
        for (name, took) in &self.done {
            println!("  {name:width$}  {:7.1} s", took.as_secs_f64());
        }
        let total: Duration = self.done.iter().map(|(_, took)| *took).sum();
        println!("  {:width$}  {:7.1} s", "total", total.as_secs_f64());
    }
}

/// Runs a command in the project's root; its exit code decides.
pub(crate) fn execute(command: &mut Command) -> Result<()> {
    if command.get_current_dir().is_none() {
        command.current_dir(root());
    }
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// Runs a command in the project's root and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .current_dir(root())
        .output()
        .with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// `cargo` with arguments.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

#[expect(
    clippy::disallowed_methods,
    reason = "a task's own stopwatch; nothing depends on it"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
