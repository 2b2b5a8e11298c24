//! Seeds: many at a time, one by its number, and one twice.

use std::time::Duration;

use crate::many::{Many, many};
use crate::outside::number;
use crate::plan::{MINUTES, Plan};
use crate::run::{Report, run, run_traced};
use crate::shrink::{self, Reproduction};

/// Seeds that a plain `cargo test` tries, and how long each lasts, in simulated minutes. `cargo xtask test`
/// asks for more of both.
const QUICK: (u64, u64) = (40, 1);

/// The plan of a seed as the environment wants it.
pub(crate) fn asked_plan(seed: u64, minutes: u64) -> Plan {
    let minutes = number("ANNULUS_SIMULATED_MINUTES").unwrap_or(minutes);
    Plan {
        lasts: Duration::from_secs(60 * minutes),
        ..Plan::of(seed)
    }
}

/// Prints what broke and how to see it again; then fails.
pub(crate) fn judge(plan: &Plan, report: &Report) {
    if report.broken.is_none() {
        return;
    }
    let report = run_traced(plan, false);
    let broken = report.broken.as_ref().expect("it breaks every time");
    for line in report.trace.iter().chain(&report.disks) {
        println!("{line}");
    }
    println!("{plan:?}");
    println!("again: {}", Reproduction(plan));
    panic!("seed {}: {broken}", plan.seed);
}

#[test]
fn every_seed_keeps_the_promises() {
    let first = number("ANNULUS_FIRST_SEED").unwrap_or(1);
    let seeds = number("ANNULUS_SEEDS").unwrap_or(QUICK.0);
    let plan = |seed| asked_plan(seed, QUICK.1);
    let many = Many::until_seed(first, first + seeds);
    let total = many.run(plan);
    if let Some((plan, report)) = &total.failed {
        judge(plan, report);
    }
    println!("{total}");
    assert!(
        total.acknowledged * 3 > total.operations,
        "faults leave nothing to judge"
    );
    assert!(seeds < 10 || total.reaped > 0, "nothing was reaped");
    assert!(seeds < 10 || total.scrubbed > 0, "nothing was scrubbed");
    assert!(total.moves.committed > 0, "nothing was moved");
    assert!(
        seeds < 10 || total.moves.called_off > 0,
        "nothing was called off"
    );
}

#[test]
#[ignore = "goes on for as long as it is told: cargo xtask soak"]
fn soak() {
    let first = number("ANNULUS_FIRST_SEED").unwrap_or(1);
    let minutes = number("ANNULUS_SOAK_MINUTES").unwrap_or(1);
    let many = Many::for_minutes(first, minutes);
    let total = many.run(|seed| asked_plan(seed, MINUTES));
    println!("{total}");
    if let Some((plan, report)) = &total.failed {
        judge(plan, report);
    }
}

/// For `cargo xtask simulate`: `ANNULUS_SEED`; `ANNULUS_SIMULATED_MINUTES`; `ANNULUS_ONLY_FAULTS`, their numbers;
/// `ANNULUS_TRACE` prints everything that happens; `ANNULUS_RECORD` is a file for the history.
#[test]
fn one_seed() {
    let seed = number("ANNULUS_SEED");
    let only = std::env::var("ANNULUS_ONLY_FAULTS").ok();
    let plan = Plan {
        only: only.map(|numbers| shrink::numbers(&numbers)),
        ..asked_plan(seed.unwrap_or(1), if seed.is_some() { MINUTES } else { 1 })
    };
    let report = if std::env::var_os("ANNULUS_TRACE").is_some() {
        let report = run_traced(&plan, true);
        for line in report.trace.iter().chain(&report.disks) {
            println!("{line}");
        }
        report
    } else {
        run(&plan)
    };
    if plan.only.is_none()
        && let Some((_, text)) = shrink::shrunk(&plan, &report)
    {
        println!("{text}");
    }
    judge(&plan, &report);
    println!(
        "seed {}: {} nodes, {} clients, {} keys, {:.0} simulated s, {} events, {} operations of which {} succeeded, \
         {} faults, {:?}, nothing broken",
        plan.seed,
        plan.nodes,
        plan.clients,
        plan.keys,
        report.simulated.as_secs_f64(),
        report.events,
        report.operations,
        report.acknowledged,
        report.faults.len(),
        report.moves,
    );
    println!("hash {:016x}", report.hash);
}

#[test]
fn a_seed_gives_the_same_events_every_time() {
    for seed in 10..=20 {
        let plan = Plan::short(seed);
        let (first, second) = (run(&plan), run_traced(&plan, false));
        assert!(first.events > 1000, "seed {seed}: {} events", first.events);
        assert_eq!(first.hash, second.hash, "seed {seed}");
    }
}

#[test]
fn a_seed_gives_the_same_events_on_every_thread() {
    let here = run(&Plan::short(3)).hash;
    let there = many(&[3, 3], Plan::short);
    assert_eq!(there, [here, here]);
}

#[test]
fn seeds_differ() {
    assert_ne!(run(&Plan::short(1)).hash, run(&Plan::short(2)).hash);
}
