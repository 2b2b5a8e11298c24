//! Seeds: as many as fit into half a minute, one by its number, and one twice.

use std::time::Duration;

use crate::outside::{number, stopwatch};
use crate::plan::Plan;
use crate::run::{Report, run};

/// Seeds that a run of all tests tries at most; more with `ANNULUS_SEEDS`.
const SEEDS: u64 = 40;

/// A run of all tests takes this long for seeds at most. Does not hold with `ANNULUS_SEEDS`.
const AT_MOST: Duration = Duration::from_secs(30);

/// Prints what broke and how to see it again; then fails.
pub(crate) fn judge(plan: &Plan, report: &Report) {
    let Some(broken) = &report.broken else {
        return;
    };
    for line in &report.trace {
        println!("{line}");
    }
    println!("{plan:?}");
    println!(
        "again: cargo xtask simulate --layer turmoil --seed {}",
        plan.seed
    );
    panic!("seed {}: {broken}", plan.seed);
}

#[test]
fn every_seed_keeps_the_promises() {
    let first = number("ANNULUS_FIRST_SEED").unwrap_or(1);
    let asked = number("ANNULUS_SEEDS");
    let (started, mut simulated) = (stopwatch(), Duration::ZERO);
    let (mut seeds, mut events, mut operations, mut acknowledged) = (0, 0, 0, 0);
    for seed in first..first + asked.unwrap_or(SEEDS) {
        if asked.is_none() && started.elapsed() > AT_MOST {
            break;
        }
        let plan = Plan::of(seed);
        let report = run(&plan);
        judge(&plan, &report);
        seeds += 1;
        events += report.events;
        operations += report.operations;
        acknowledged += report.acknowledged;
        simulated += report.simulated;
    }
    let took = started.elapsed();
    assert!(
        acknowledged * 4 > operations,
        "faults leave nothing to judge: {acknowledged} of {operations} succeeded"
    );
    println!(
        "{seeds} seeds, {:.0} simulated s in {:.1} s = {:.0} a second; {events} events, {operations} operations of which {acknowledged} succeeded",
        simulated.as_secs_f64(),
        took.as_secs_f64(),
        simulated.as_secs_f64() / took.as_secs_f64(),
    );
}

/// For `cargo xtask simulate --layer turmoil`: `ANNULUS_SEED`, and `ANNULUS_SIMULATED_MINUTES` of
/// faults; prints the trace with `ANNULUS_TRACE`.
#[test]
fn one_seed() {
    let mut plan = Plan::of(number("ANNULUS_SEED").unwrap_or(1));
    if let Some(minutes) = number("ANNULUS_SIMULATED_MINUTES") {
        plan.lasts = Duration::from_secs(60 * minutes);
    }
    let report = run(&plan);
    judge(&plan, &report);
    if std::env::var_os("ANNULUS_TRACE").is_some() {
        report.trace.iter().for_each(|line| println!("{line}"));
    }
    println!(
        "seed {}: {} nodes, {} clients, {} keys, {:.0} simulated s, {} events, {} operations of which {} succeeded, nothing broken",
        plan.seed,
        plan.nodes,
        plan.clients,
        plan.keys,
        report.simulated.as_secs_f64(),
        report.events,
        report.operations,
        report.acknowledged,
    );
    println!("hash {:016x}", report.hash);
}

#[test]
fn a_seed_gives_the_same_events_every_time() {
    let first = number("ANNULUS_FIRST_SEED").unwrap_or(1);
    let seeds: Vec<u64> = match number("ANNULUS_SEEDS") {
        Some(count) => (first..first + count).collect(),
        None => vec![1, 6, 17], // the later ones once did not
    };
    for seed in seeds {
        let plan = Plan::of(seed);
        let (first, second) = (run(&plan), run(&plan));
        assert!(first.events > 500, "seed {seed}: {} events", first.events);
        let lines = first.trace.iter().zip(&second.trace);
        let different = lines.filter(|(one, other)| one != other).take(3);
        let different: Vec<_> = different.collect();
        assert_eq!(first.hash, second.hash, "seed {seed}: {different:#?}");
    }
}

#[test]
fn seeds_differ() {
    assert_ne!(run(&Plan::of(1)).hash, run(&Plan::of(2)).hash);
}
