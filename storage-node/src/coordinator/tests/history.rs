//! Random histories under faults, judged by what a sibling store promises.
//!
//! - C1: an acknowledged value is shown at the end, or a write that may have happened replaced it.
//! - C2: a value that an acknowledged write replaced is not shown at the end.
//! - C3: what is shown was written by an operation that was not rejected.
//! - C5: a quorum read shows every acknowledged value that nothing can have replaced.

use std::collections::{BTreeMap, BTreeSet};

use annulus_proto::model::Outcome;

use super::cluster::{Ask, Cluster, Fault, shown};
use crate::entropy::{Randomness as _, SeededRandomness};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Done,
    Unknown,
    Rejected,
}

impl Said {
    fn of<T>(result: Result<T, annulus_proto::model::RequestError>) -> Self {
        match result.map_err(|error| error.outcome) {
            Ok(_) => Self::Done,
            Err(Outcome::Unknown) => Self::Unknown,
            Err(Outcome::Rejected) => Self::Rejected,
        }
    }
}

/// What is known of one key's history.
#[derive(Debug, Default)]
struct History {
    written: BTreeMap<String, Said>,
    /// Values that a write's context covered, and the best that was said of such a write.
    replaced: BTreeMap<String, Said>,
}

impl History {
    fn note(&mut self, said: Said, value: Option<&str>, seen: &[String]) {
        if let Some(value) = value {
            self.written.insert(value.to_owned(), said);
        }
        if said == Said::Rejected {
            return;
        }
        for old in seen {
            let best = self.replaced.entry(old.clone()).or_insert(said);
            if said == Said::Done {
                *best = Said::Done;
            }
        }
    }

    fn judge(&self, shown: &[String], context: &str) {
        for value in shown {
            let said = self.written.get(value);
            assert!(
                !matches!(said, None | Some(Said::Rejected)),
                "C3 {value}: {context} {self:?}"
            );
            assert_ne!(
                self.replaced.get(value),
                Some(&Said::Done),
                "C2 {value}: {context} {self:?}"
            );
        }
        let shown: BTreeSet<_> = shown.iter().collect();
        for (value, _) in self.written.iter().filter(|(_, said)| **said == Said::Done) {
            let may_be_gone = self.replaced.contains_key(value);
            assert!(
                may_be_gone || shown.contains(value),
                "C1, C5 {value}: {context} {self:?}"
            );
        }
    }
}

const FAULTS: [Fault; 4] = [
    Fault::Down,
    Fault::Refuses,
    Fault::Hangs,
    Fault::LosesReplies,
];

async fn run(seed: u64) {
    let random = SeededRandomness::new(seed);
    let draw = |below: usize| usize::try_from(random.u64() % below as u64).unwrap();
    let cluster = Cluster::start([3, 4, 5][draw(3)]).await;
    let ask = Ask::key("k").within_ms(150);
    let mut history = History::default();
    for turn in 0..40 {
        if draw(4) == 0 {
            cluster.heal();
            for _ in 0..draw(3) {
                cluster.fail(draw(cluster.nodes.len()), FAULTS[draw(FAULTS.len())]);
            }
        }
        let node = &cluster.nodes[draw(cluster.nodes.len())];
        let Ok(found) = node.get(&ask).await else {
            continue;
        };
        let seen = shown(&found);
        history.judge(&seen, &format!("seed {seed}, turn {turn}"));
        let node = &cluster.nodes[draw(cluster.nodes.len())];
        let informed = ask.clone().context(&found.state.context());
        let value = format!("v{turn}");
        match draw(8) {
            0 => history.note(Said::of(node.delete(&informed).await), None, &seen),
            1 | 2 => history.note(Said::of(node.put(&ask, &value).await), Some(&value), &[]),
            3 => {
                // The client tries again, elsewhere, whatever was said.
                let first = Said::of(node.put(&informed.clone().id(turn), &value).await);
                let other = &cluster.nodes[draw(cluster.nodes.len())];
                let second = Said::of(other.put(&informed.clone().id(turn), &value).await);
                let said = match (first, second) {
                    (Said::Done, _) | (_, Said::Done) => Said::Done,
                    (Said::Rejected, Said::Rejected) => Said::Rejected,
                    _ => Said::Unknown,
                };
                history.note(said, Some(&value), &seen);
            }
            _ => history.note(
                Said::of(node.put(&informed, &value).await),
                Some(&value),
                &seen,
            ),
        }
    }
    cluster.heal();
    for node in &cluster.nodes {
        let all = ask.clone().r("all").within_ms(10_000);
        history.judge(&node.values(&all).await, &format!("seed {seed}, end"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_hold_whatever_fails() {
    let seeds = (0..24).map(|seed| tokio::spawn(run(seed)));
    for run in futures::future::join_all(seeds).await {
        run.unwrap();
    }
}
