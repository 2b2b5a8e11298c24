//! Faults that a seed may not combine: each scenario under a few seeds.

use std::time::Duration;

use annulus_node::simulation::Mistake;

use crate::plan::{Fault, Plan};
use crate::run::run;
use crate::seeds::judge;

/// A plan with these faults, one upon the other.
fn plan(seed: u64, faults: &[Fault]) -> Plan {
    Plan {
        nodes: 3,
        keys: 2,
        lasts: Duration::from_secs(30),
        storm: Duration::from_secs(30),
        calm_ms: (100, 800),
        think_ms: 30,
        faults: faults.to_vec(),
        ..Plan::of(seed)
    }
}

fn holds(faults: &[Fault]) {
    for seed in 1..=3 {
        let report = run(&plan(seed, faults));
        assert!(report.operations > 100, "{} operations", report.operations);
        judge(&plan(seed, faults), &report);
    }
}

#[test]
fn killing_every_node_at_once_loses_no_acknowledged_write() {
    holds(&[Fault::CrashAll, Fault::SlowSyncs]);
}

#[test]
fn a_failed_sync_ends_the_process_and_not_the_data() {
    holds(&[Fault::FailSyncs, Fault::SlowSyncs]);
}

#[test]
fn epochs_that_follow_each_other_quickly_are_harmless() {
    holds(&[Fault::NewEpoch, Fault::SlowWay, Fault::Crash]);
}

#[test]
fn wrong_wall_clocks_break_no_promise() {
    holds(&[Fault::Skew, Fault::Jump, Fault::Crash, Fault::Stop]);
}

#[test]
fn a_lost_disk_loses_no_acknowledged_write() {
    holds(&[Fault::Damage, Fault::Wipe, Fault::Crash, Fault::OneWay]);
}

#[test]
fn requests_that_come_late_or_twice_happen_once() {
    holds(&[
        Fault::LossyWay,
        Fault::LossyWay,
        Fault::SlowWay,
        Fault::Stall,
    ]);
}

#[test]
fn a_vnode_that_has_lost_records_gives_no_dot_twice() {
    holds(&[Fault::Forget, Fault::Forget, Fault::OneWay, Fault::Crash]);
}

#[test]
fn connections_that_break_leave_no_doubt_about_what_was_rejected() {
    holds(&[Fault::Reset, Fault::Reset, Fault::SlowWay, Fault::LossyWay]);
}

/// Found once: a mark of lost hints that did not outlive its copy (2), moves that turned in circles without room (1), a move
/// that never ended as its copy was made for a lost one (4), a leaver that drained before it had mended its copy (8).
#[test]
fn a_minute_of_moves_in_seeds_that_once_broke() {
    for seed in [1, 2, 4, 8] {
        let plan = Plan {
            lasts: Duration::from_secs(60),
            ..Plan::of(seed)
        };
        let report = run(&plan);
        judge(&plan, &report);
        assert!(
            report.moves.committed > 0,
            "seed {seed}: {:?}",
            report.moves
        );
    }
}

#[test]
fn a_healthy_cluster_repairs_nothing() {
    // Opening ways that are open is no fault.
    let moved = |seed, mistake| {
        let plan = plan(seed, &[Fault::OpenWays]).still();
        let report = run(&Plan { mistake, ..plan });
        assert!(report.broken.is_none(), "{:?}", report.broken);
        report.repaired
    };
    for seed in 1..=3 {
        assert_eq!(moved(seed, None), (0, 0), "seed {seed}");
    }
    let unconfirmed = Some(Mistake::RepairUnconfirmed);
    let found = (1..=30).find(|seed| moved(*seed, unconfirmed).0 > 0);
    println!("without a second look keys move that are on their way: seed {found:?}");
    assert!(found.is_some(), "a second look makes no difference");
}
