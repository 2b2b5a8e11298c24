//! `annulus-faults`: a run of real nodes under faults, from the command line. `cargo xtask faults` builds and calls it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use annulus_faults::Engine;
use annulus_faults::beside::{self, Beside};
use annulus_faults::fault::Kind;
use annulus_faults::isolation::{self, Isolation};
use annulus_faults::judge::judge_file;
use annulus_faults::outage::{self, Outage};
use annulus_faults::run::{Terms, run};
use annulus_faults::throttle::{self, Throttle};
use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Runs real nodes under faults and judges what they did.
///
/// Needs root, or a kernel that gives user namespaces to everybody; otherwise it runs on loopback with fewer
/// kinds of faults, and says so. Exit codes: 0 all promises kept, 1 not, 2 the run itself failed.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Decides the faults and what clients ask.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How many nodes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=20))]
    nodes: u64,

    /// How long faults go on; longer, until each kind was there once.
    #[arg(long, default_value_t = 600)]
    seconds: u64,

    /// Operations that clients begin in a second.
    #[arg(long, default_value_t = 150)]
    rate: u64,

    /// Only these kinds of faults; all but `clock-leap` by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,

    /// How nodes keep their data. With `memory` a run with `kill-all` has to find lost writes.
    #[arg(long, value_enum, default_value = "rocksdb")]
    engine: Engine,

    /// For the history, the logs and the configurations.
    #[arg(long, default_value = "target/faults")]
    dir: PathBuf,

    /// Instead of faults: one node is away for so many seconds under load, and comes back.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["seconds", "only", "engine"])]
    outage: Option<u64>,

    /// Instead of faults: how background work slows clients, in phases of so many seconds.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["seconds", "only", "engine", "outage"])]
    beside: Option<u64>,

    /// Instead of faults: whether moves keep to their limit of bytes a second.
    #[arg(long, conflicts_with_all = ["seconds", "only", "engine", "outage", "beside", "rate", "nodes"])]
    throttle: bool,

    /// With --outage: nodes keep no hints.
    #[arg(long, requires = "outage")]
    without_hints: bool,

    /// Judges a history that was recorded before, and runs nothing.
    #[arg(long, value_name = "FILE")]
    judge: Option<PathBuf>,

    /// With --judge: clocks leaped in that run.
    #[arg(long, requires = "judge")]
    clocks_leaped: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match carry_out(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn carry_out(args: Args) -> Result<bool> {
    if let Some(history) = args.judge {
        let judgement = judge_file(&history, args.clocks_leaped)?;
        println!("{}", judgement.report);
        return Ok(judgement.violations == 0);
    }
    if let Some(seconds) = args.beside {
        let terms = Beside {
            lasts: Duration::from_secs(seconds),
            rate: args.rate,
            dir: args.dir.join("beside"),
        };
        return until_told(async { beside::run(&terms).await.map(|()| true) });
    }
    let isolation = isolation::enter()?;
    if let Isolation::Loopback { why } = &isolation {
        eprintln!(
            "NO NAMESPACES HERE: no faults of networks and disks, all on loopback. Why: {why}"
        );
    }
    if args.throttle {
        let dir = args.dir.join("throttle");
        return until_told(throttle::run(&Throttle { dir }, &isolation));
    }
    let nodes = usize::try_from(args.nodes).context("a few nodes")?;
    if let Some(seconds) = args.outage {
        let terms = Outage {
            seed: args.seed,
            nodes,
            lasts: Duration::from_secs(seconds),
            rate: args.rate,
            keeps_hints: !args.without_hints,
            dir: args.dir.join("outage"),
        };
        return until_told(outage::run(&terms, &isolation));
    }
    let terms = Terms {
        seed: args.seed,
        nodes,
        lasts: Duration::from_secs(args.seconds),
        rate: args.rate,
        kinds: if args.only.is_empty() {
            Kind::USUAL.to_vec()
        } else {
            args.only
        },
        engine: args.engine,
        dir: args.dir.join(format!("seed-{}", args.seed)),
    };
    until_told(run(&terms, &isolation))
}

/// Runs it to its end, or until a signal.
fn until_told(run: impl Future<Output = Result<bool>>) -> Result<bool> {
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = run => ended,
            // Nodes are killed when they are dropped; namespaces end with this process.
            _ = interrupted.recv() => anyhow::bail!("interrupted"),
            _ = terminated.recv() => anyhow::bail!("asked to end"),
        }
    })
}
