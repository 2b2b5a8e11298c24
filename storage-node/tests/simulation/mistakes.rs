//! Mistakes made on purpose, and the number of seeds within which each must be found.
//!
//! Run with `cargo xtask simulate --mistakes` it prints the table of `docs/simulation.md`.

use std::time::Duration;

use annulus_node::config::HintLimits;
use annulus_node::simulation::Mistake;

use crate::plan::{Fault, Plan, usual_hints};
use crate::run::run;

/// What a seed is about when it looks for a mistake.
type Tuned = fn(u64) -> Plan;

/// Each with the plans under which it is looked for, and the seeds within which it must be found.
const MISTAKES: [(Mistake, Tuned, u64); 37] = [
    (Mistake::AcknowledgeBeforeSync, Plan::short, 10),
    (Mistake::OneAckTooFew, Plan::short, 10),
    (Mistake::MintOnNonOwner, Plan::short, 10),
    (Mistake::NoFreshEpochWhenAbsent, forgetful, 100),
    (Mistake::NoEventAfterAmnesia, forgetful, 40),
    (Mistake::NoDistrustAfterUncleanStart, Plan::short, 40),
    (Mistake::OneCounterForVnode, late_syncs, 40),
    (Mistake::RepairMints, Plan::short, 20),
    (Mistake::FenceOnlyBefore, Plan::short, 60),
    (Mistake::RejectedThoughApplied, Plan::short, 10),
    (Mistake::ContextCoversUnseen, Plan::short, 20),
    (Mistake::DigestsIgnored, Plan::short, 20),
    (Mistake::DamageReadsAsAbsent, damaged, 20),
    (Mistake::FailedSyncIgnored, Plan::short, 40),
    (Mistake::RetryMintsAgain, Plan::short, 20),
    (Mistake::MergeForgetsExpiry, Plan::short, 10),
    (Mistake::HintsNeverExpire, Plan::short, 40),
    (Mistake::ReplayMints, Plan::short, 20),
    (Mistake::HintRemovedBeforeSync, handing_over, 20),
    (Mistake::SloppyHintDropped, handing_over, 20),
    (Mistake::LateMergesApplied, Plan::short, 40),
    (Mistake::GossipEvicts, split_for_long, 10),
    (Mistake::TreeHashesValues, resting, 20),
    (Mistake::TreeInItsOwnBatch, Plan::short, 20),
    (Mistake::ExchangeMints, Plan::short, 20),
    (Mistake::ReapByAgeAlone, deleting, 20),
    (Mistake::RemoveWhatChanged, deleting, 20),
    (Mistake::ExpiryRemovesRecord, deleting, 20),
    (Mistake::RebuildingAnswersAbsent, mending, 20),
    (Mistake::RebuildFromOne, losing, 40),
    (Mistake::RebuiltUnderOldId, mending, 40),
    (Mistake::NoJointQuorum, moving, 20),
    (Mistake::SnapshotBeforeBarrier, moving, 20),
    (Mistake::NoBarrier, moving, 20),
    (Mistake::NoDrain, moving, 40),
    (Mistake::CleanupBeforeCommit, moving, 20),
    (Mistake::ReplacedFromOne, replacing, 40),
];

/// Nobody joins or leaves: copies that are not alike are not made anew.
fn resting(seed: u64) -> Plan {
    Plan::short(seed).still()
}

/// Nodes lose records and keep their vnodes, while writes reach few others: what V3 and V4 are for. Hints
/// are not kept and copies not compared: that would give back what was lost before the node writes again.
fn forgetful(seed: u64) -> Plan {
    let faults = vec![
        Fault::Forget,
        Fault::Forget,
        Fault::OneWay,
        Fault::Split,
        Fault::LossyWay,
        Fault::OpenWays,
    ];
    Plan {
        nodes: 3,
        keys: 64,
        clients: 8,
        think_ms: 10,
        lasts: Duration::from_secs(120),
        storm: Duration::from_secs(120),
        calm_ms: (50, 600),
        compared_every: None,
        faults,
        hints: no_hints(),
        ..Plan::of(seed).still()
    }
}

fn no_hints() -> HintLimits {
    HintLimits {
        max_bytes: 0,
        ..usual_hints()
    }
}

/// Nodes crash before their own syncs of what others have synced, and write again before they read.
fn late_syncs(seed: u64) -> Plan {
    let faults = vec![
        Fault::Crash,
        Fault::Crash,
        Fault::SlowSyncs,
        Fault::SlowSyncs,
        Fault::OneWay,
        Fault::OpenWays,
    ];
    Plan {
        nodes: 3,
        keys: 24,
        clients: 8,
        think_ms: 30,
        lasts: Duration::from_secs(120),
        storm: Duration::from_secs(120),
        calm_ms: (50, 800),
        faults,
        ..Plan::of(seed).still()
    }
}

/// Ways stay cut until everybody believes those behind them to be down.
fn split_for_long(seed: u64) -> Plan {
    Plan {
        nodes: 3,
        lasts: Duration::from_secs(180),
        storm: Duration::from_secs(180),
        calm_ms: (5_000, 25_000),
        faults: vec![Fault::Split, Fault::Crash, Fault::OpenWays],
        ..Plan::short(seed).still()
    }
}

/// Records are damaged while ways are cut.
fn damaged(seed: u64) -> Plan {
    let faults = vec![
        Fault::Damage,
        Fault::Wipe,
        Fault::OneWay,
        Fault::Split,
        Fault::LossyWay,
    ];
    Plan {
        nodes: 3,
        keys: 1,
        calm_ms: (50, 300),
        faults,
        ..Plan::short(seed).still()
    }
}

/// Nodes miss writes all the time, and no disk loses any.
fn handing_over(seed: u64) -> Plan {
    let faults = vec![
        Fault::Crash,
        Fault::Crash,
        Fault::Split,
        Fault::OneWay,
        Fault::SlowSyncs,
        Fault::OpenWays,
    ];
    Plan {
        nodes: 5,
        calm_ms: (50, 1_000),
        faults,
        hints: HintLimits {
            max_sloppy_bytes: 400,
            replay_jitter: Duration::ZERO,
            ..usual_hints()
        },
        ..Plan::short(seed).still()
    }
}

/// Long enough for deleted keys to be forgotten several times.
fn deleting(seed: u64) -> Plan {
    let lasts = Duration::from_secs(180);
    Plan {
        lasts,
        storm: lasts,
        ..Plan::short(seed).still()
    }
}

/// Nodes lose data, and have the time to mend themselves, while writes reach few others.
fn mending(seed: u64) -> Plan {
    let faults = vec![
        Fault::Damage,
        Fault::Damage,
        Fault::Wipe,
        Fault::OneWay,
        Fault::LossyWay,
        Fault::OpenWays,
        Fault::OpenWays,
    ];
    Plan {
        nodes: 3,
        keys: 4,
        clients: 6,
        think_ms: 30,
        lasts: Duration::from_secs(90),
        storm: Duration::from_secs(90),
        calm_ms: (200, 1_500),
        faults,
        ..Plan::of(seed).still()
    }
}

/// Nodes lose data and mend themselves, while writes miss one node and another is down for a moment. Keys are many, so
/// that what a node missed is not written again at once; hints are not kept for the same reason.
fn losing(seed: u64) -> Plan {
    let faults = vec![
        Fault::Damage,
        Fault::Wipe,
        Fault::Wipe,
        Fault::Crash,
        Fault::Crash,
        Fault::Crash,
        Fault::OneWay,
        Fault::OneWay,
        Fault::OpenWays,
    ];
    Plan {
        nodes: 3,
        keys: 50,
        clients: 6,
        think_ms: 30,
        lasts: Duration::from_secs(90),
        storm: Duration::from_secs(90),
        calm_ms: (200, 1_500),
        compared_every: None,
        faults,
        hints: no_hints(),
        ..Plan::of(seed).still()
    }
}

/// Nodes join and leave while writes miss some of them, syncs are slow, and no disk loses any.
fn moving(seed: u64) -> Plan {
    let faults = vec![
        Fault::Crash,
        Fault::SlowSyncs,
        Fault::SlowSyncs,
        Fault::SlowWay,
        Fault::OneWay,
        Fault::OpenWays,
        Fault::OpenWays,
        Fault::CutOperator,
    ];
    let lasts = Duration::from_secs(90);
    Plan {
        keys: 24,
        clients: 8,
        think_ms: 30,
        lasts,
        storm: lasts,
        calm_ms: (200, 1_500),
        compared_every: None,
        faults,
        hints: no_hints(),
        ..Plan::of(seed)
    }
}

/// Nodes are destroyed, and their copies made anew, while writes miss one node and another is down for a moment.
fn replacing(seed: u64) -> Plan {
    let faults = vec![
        Fault::Destroy,
        Fault::Crash,
        Fault::Crash,
        Fault::Crash,
        Fault::OneWay,
        Fault::OneWay,
        Fault::OpenWays,
    ];
    Plan {
        nodes: 3,
        spares: 2,
        keys: 50,
        operators: 1,
        quorums_only: true,
        faults,
        ..moving(seed)
    }
}

/// The first seed that finds it, and the rule.
fn search(seeds: u64, plan: impl Fn(u64) -> Plan) -> Option<(u64, String)> {
    (1..=seeds).find_map(|seed| Some((seed, run(&plan(seed)).broken?.rule)))
}

#[test]
fn every_mistake_is_found() {
    println!("| mistake | found by | seeds | at most |");
    println!("|---|---|---|---|");
    let mut missed = Vec::new();
    for (mistake, plan, most) in MISTAKES {
        match search(most, |seed| plan(seed).with(mistake)) {
            Some((seeds, rule)) => println!("| `{mistake:?}` | {rule} | {seeds} | {most} |"),
            None => missed.push((mistake, most)),
        }
    }
    let forgets = |seed| Plan {
        forgets_tail: true,
        ..Plan::short(seed)
    };
    let (seeds, rule) = search(20, forgets).expect("a lost tail is found");
    println!("| the end of the log is lost | {rule} | {seeds} | 20 |");
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn plans_tuned_to_a_mistake_find_nothing_without_it() {
    for plan in [
        forgetful,
        late_syncs,
        damaged,
        handing_over,
        split_for_long,
        deleting,
        mending,
        losing,
        moving,
        replacing,
    ] {
        for seed in 1..=4 {
            let plan = plan(seed);
            crate::seeds::judge(&plan, &run(&plan));
        }
    }
}
