//! Mistakes made on purpose: that this layer finds some shows that it can fail. All of them, and more
//! cheaply, are found by `tests/simulation`.

use annulus_node::simulation::Mistake;

use crate::plan::Plan;
use crate::run::run;

/// Each with the seeds within which it must be found.
const MISTAKES: [(Mistake, u64); 4] = [
    (Mistake::AcknowledgeBeforeSync, 10),
    (Mistake::OneAckTooFew, 10),
    (Mistake::RejectedThoughApplied, 10),
    (Mistake::MintOnNonOwner, 20),
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
