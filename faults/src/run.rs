//! A whole run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use crate::conductor::Conductor;
use crate::fault::Kind;
use crate::isolation::Isolation;
use crate::judge::judge_file;
use crate::plan::Planner;
use crate::ring::Ring;
use crate::site::{Engine, Settings};
use crate::workload::ask::Draw;
use crate::workload::client::Client;
use crate::{convergence, damage};

const CLIENTS: u64 = 12;

/// Size of a node's own file system: soon full, if it is to be.
const DISK_MIB: u64 = 128;

/// What a run is about.
#[derive(Debug, Clone)]
pub struct Terms {
    /// It decides the plan and what clients ask.
    pub seed: u64,
    /// How many nodes, 3 or more.
    pub nodes: usize,
    /// How long faults and clients go on.
    pub lasts: Duration,
    /// Operations that clients begin in a second.
    pub rate: u64,
    /// Kinds of faults.
    pub kinds: Vec<Kind>,
    /// How nodes keep their data.
    pub engine: Engine,
    /// For the history, logs and configurations.
    pub dir: PathBuf,
}

/// The kinds that can be had there, and those that can't.
pub fn possible(kinds: &[Kind], isolation: &Isolation) -> (Vec<Kind>, Vec<Kind>) {
    let is_possible = |kind: &Kind| match isolation {
        Isolation::Namespaces => true,
        // A replaced disk is filled while the node is cut off.
        Isolation::Loopback { .. } => {
            !kind.needs_network() && !kind.needs_mounts() && !kind.destroys()
        }
    };
    kinds.iter().partition(|kind| is_possible(kind))
}

/// Carries out a run. Whether all promises were kept; what happened is printed.
pub async fn run(terms: &Terms, isolation: &Isolation) -> Result<bool> {
    let (kinds, impossible) = possible(&terms.kinds, isolation);
    let settings = Settings {
        small_buffers: true,
        disk_mib: DISK_MIB,
        ..Settings::usual(terms.engine)
    };
    let shape = (terms.nodes, terms.seed);
    let ring = Ring::start(&terms.dir, isolation, shape, &settings).await?;
    let conductor = Arc::new(Conductor::new(ring.clone()));

    let mut tasks = JoinSet::new();
    let watched = ring.clone();
    tasks.spawn(async move { watched.watch().await });
    let loses_disks = kinds.iter().any(|kind| kind.destroys());
    let pause = Duration::from_micros(1_000_000 * CLIENTS / terms.rate.max(1));
    for number in 0..CLIENTS {
        let draw = Draw::new(number, terms.seed, !loses_disks);
        tasks.spawn(Client::new(number, ring.arena.clone(), draw, pause).run());
    }
    let planner = Planner::new(terms.seed, terms.nodes, &kinds);
    let conducted = conductor.clone().run(planner, terms.lasts, &kinds).await;
    ring.arena.stopped.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.context("a client panicked")?;
    }
    conducted?;
    ring.note("all faults have ended; the copies are to become the same");
    convergence::drive(&ring).await;
    ring.stop().await;
    conclude(&conductor, &kinds, &impossible)
}

/// Judges and prints.
fn conclude(conductor: &Arc<Conductor>, kinds: &[Kind], impossible: &[Kind]) -> Result<bool> {
    let ring = &conductor.ring;
    let path = ring.arena.recording.path().to_owned();
    ring.arena.recording.flush()?;
    let judgement = judge_file(&path, kinds.contains(&Kind::ClockLeap))?;
    println!("\n{}", judgement.report);
    println!("{:14} {:>6}", "fault", "times");
    for (kind, count) in conductor.counts.lock().iter() {
        println!("{kind:14} {count:6}");
    }
    for kind in impossible {
        println!("{kind:14}      - LEFT OUT: not possible here");
    }
    let damage::DamageTally {
        tables,
        logs,
        refused_to_run,
        reads_refused,
        reads_answered,
    } = *conductor.damages.lock();
    println!(
        "\ndamage: {tables} tables, {logs} logs; the node did not run with it {refused_to_run} times; of single \
         copies it refused {reads_refused} reads and answered {reads_answered}, none of them wrong unless said below"
    );
    let findings = ring.findings();
    for what in &findings {
        println!("FOUND: {what}");
    }
    println!("history: {}", path.display());
    let kept = judgement.violations == 0 && findings.is_empty();
    print_verdict(kept, judgement.violations, findings.len(), &path);
    Ok(kept)
}

fn print_verdict(kept: bool, violations: usize, findings: usize, history: &Path) {
    if kept {
        println!(
            "verdict: no rule violated (C1 to C7, C9, C10); every process and disk did as it should"
        );
    } else {
        println!(
            "verdict: {violations} violations of rules and {findings} other findings; judge again: \
             annulus-faults --judge {}",
            history.display()
        );
    }
}
