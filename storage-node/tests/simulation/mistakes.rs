//! Mistakes made on purpose, and the number of seeds within which each must be found.

use annulus_node::simulation::Mistake;

use crate::plan::Plan;
use crate::run::run;

/// Each with the seeds within which it must be found.
///
/// [`Mistake::NoFreshEpochWhenAbsent`] and [`Mistake::NoEventAfterAmnesia`] stay without effect: they need a
/// vnode that loses single keys and stays the same vnode, which a node does not do any more (damage
/// makes a key unavailable, a lost disk makes new vnodes). `causality`'s model tests show what they
/// are for. [`Mistake::DamageReadsAsAbsent`] has a scenario of its own.
const MISTAKES: [(Mistake, u64); 11] = [
    (Mistake::AcknowledgeBeforeSync, 10),
    (Mistake::OneAckTooFew, 10),
    (Mistake::MintOnNonOwner, 10),
    (Mistake::NoDistrustAfterUncleanStart, 40),
    (Mistake::RepairMints, 20),
    (Mistake::FenceOnlyBefore, 40),
    (Mistake::RejectedThoughApplied, 10),
    (Mistake::ContextCoversUnseen, 20),
    (Mistake::DigestsIgnored, 20),
    (Mistake::FailedSyncIgnored, 40),
    (Mistake::RetryMintsAgain, 20),
];

#[test]
fn every_mistake_is_found() {
    let mut missed = Vec::new();
    for (mistake, seeds) in MISTAKES {
        let found = (1..=seeds).find_map(|seed| {
            let broken = run(&Plan::of(seed).with(mistake)).broken?;
            Some((seed, broken.rule))
        });
        match found {
            Some((seed, rule)) => println!("{mistake:?}: seed {seed}, {rule}"),
            None => missed.push((mistake, seeds)),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn a_recovery_that_drops_the_end_of_the_log_is_found() {
    let found = (1..=20).find_map(|seed| {
        let plan = Plan {
            forgets_tail: true,
            ..Plan::of(seed)
        };
        run(&plan).broken
    });
    println!("{:?}", found.expect("20 seeds find it").rule);
}
