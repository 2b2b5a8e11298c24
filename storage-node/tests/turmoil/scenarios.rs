//! Faults that a seed may not combine: each scenario under a few seeds.

use std::time::Duration;

use crate::plan::{Fault, Plan};
use crate::run::run;
use crate::seeds::judge;

/// Each under so many seeds.
const SEEDS: u64 = 2;

fn holds(faults: &[Fault]) {
    for seed in 1..=SEEDS {
        let plan = Plan {
            nodes: 3,
            keys: 2,
            lasts: Duration::from_secs(12),
            calm_ms: (100, 900),
            faults: faults.to_vec(),
            ..Plan::of(seed)
        };
        let report = run(&plan);
        judge(&plan, &report);
        assert!(
            report.acknowledged > 50,
            "{} operations succeeded",
            report.acknowledged
        );
    }
}

#[test]
fn killed_processes_and_machines_without_power_lose_nothing() {
    holds(&[Fault::Kill, Fault::PowerCut, Fault::KillAll]);
}

#[test]
fn nodes_that_stop_in_order_finish_what_they_have() {
    holds(&[
        Fault::Stop,
        Fault::Stop,
        Fault::SlowSyncs,
        Fault::Hold,
        Fault::Mend,
    ]);
}

#[test]
fn connections_that_break_or_hang_are_made_anew() {
    holds(&[Fault::Reset, Fault::Lossy, Fault::OneWay, Fault::Mend]);
}

#[test]
fn what_is_held_back_comes_late_and_does_no_harm() {
    holds(&[
        Fault::Hold,
        Fault::Stall,
        Fault::Slow,
        Fault::Mend,
        Fault::NewEpoch,
    ]);
}
