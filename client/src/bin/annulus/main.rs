//! The `annulus` command: reads, writes and looks after a cluster from a terminal. Also runs as
//! `kubectl-annulus`, which makes it `kubectl annulus`.
//!
//! Data goes to stdout, everything for people's eyes to stderr. Exit codes: `exit.rs`.
#![forbid(unsafe_code)]

mod admin;
mod args;
mod bench;
mod clock;
mod delete;
mod dev;
mod endpoint;
mod exit;
mod get;
mod moves;
mod node;
mod output;
mod put;
mod ring;
mod status;
mod text;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command};
use crate::exit::Exit;

fn main() -> ExitCode {
    let command = Args::command().bin_name(usage_name(std::env::args_os().next().as_deref()));
    let args = match Args::from_arg_matches(&command.get_matches()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    start_logging();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: can't start: {error}");
            return Exit::Failed.into();
        }
    };
    let result = runtime.block_on(run(args));
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(error) => exit::report(&error).into(),
    }
}

/// Logs to stderr, in colours only where a terminal shows them.
fn start_logging() {
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(EnvFilter::try_from_env("ANNULUS_LOG").unwrap_or_else(|_| "error".into()));
    if std::io::stderr().is_terminal() {
        lines.init();
    } else {
        lines.with_ansi(false).init();
    }
}

async fn run(args: Args) -> anyhow::Result<Exit> {
    let Args {
        connection,
        output,
        command,
    } = args;
    match command {
        Command::Get(command) => get::run(&connection, output, command).await,
        Command::Put(command) => put::run(&connection, output, command).await,
        Command::Delete(command) => delete::run(&connection, output, command).await,
        Command::Status(command) => status::run(&connection, output, &command).await,
        Command::Ring(command) => ring::run(&connection, output, command).await,
        Command::Node(command) => node::run(&connection, output, command).await,
        Command::Bench(command) => bench::run(&connection, output, command).await,
        Command::Dev(command) => dev::run(command).await,
        Command::Drain(command) => dev::drain(command),
        Command::Move(command) => dev::change_moves(command),
    }
}

/// How the usage names this program: as a plugin of kubectl when it was started as one.
fn usage_name(started_as: Option<&std::ffi::OsStr>) -> &'static str {
    let plugin = started_as
        .and_then(|path| Path::new(path).file_stem())
        .is_some_and(|name| name == "kubectl-annulus");
    if plugin { "kubectl annulus" } else { "annulus" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_names_the_plugin_when_it_was_started_as_one() {
        assert_eq!(
            usage_name(Some("/usr/bin/kubectl-annulus".as_ref())),
            "kubectl annulus"
        );
        assert_eq!(usage_name(Some("./annulus".as_ref())), "annulus");
        assert_eq!(usage_name(None), "annulus");
    }

    #[test]
    fn the_arguments_are_well_formed() {
        Args::command().debug_assert();
    }
}
