//! Makes a failing plan smaller: fewer faults, the same broken rule (delta debugging: Zeller and
//! Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).
//!
//! Each fault of a seed has its number and its own stream of chance, so it stays the same when others
//! are left out.

use std::fmt;
use std::time::Duration;

use crate::plan::Plan;
use crate::run::{Report, run};

/// Runs that shrinking takes at most.
const ATTEMPTS: usize = 120;

/// The command that repeats a plan.
pub(crate) struct Reproduction<'p>(pub(crate) &'p Plan);

impl fmt::Display for Reproduction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0.lasts.as_secs().div_ceil(60);
        let of_seed = Plan {
            lasts: Duration::from_secs(60 * minutes),
            only: self.0.only.clone(),
            ..Plan::of(self.0.seed)
        };
        if format!("{of_seed:?}") != format!("{:?}", self.0) {
            return f.write_str("the test that failed; its plan is not that of a seed alone");
        }
        write!(
            f,
            "cargo xtask simulate --seed {} --minutes {minutes}",
            self.0.seed
        )?;
        match &self.0.only {
            Some(only) if only.is_empty() => f.write_str(" --only none"),
            Some(only) => {
                let only: Vec<_> = only.iter().map(ToString::to_string).collect();
                write!(f, " --only {}", only.join(","))
            }
            None => Ok(()),
        }
    }
}

/// Numbers as [`Reproduction`] writes them.
pub(crate) fn numbers(text: &str) -> Vec<u64> {
    let named = text.split(',').filter(|number| *number != "none");
    named
        .map(|number| number.trim().parse().expect("the numbers of faults"))
        .collect()
}

/// Shrinks a plan that broke a promise: the smallest that was found to break the same one, and what to
/// say of it.
pub(crate) fn shrunk(plan: &Plan, report: &Report) -> Option<(Plan, String)> {
    let rule = &report.broken.as_ref()?.rule;
    let (shrunk, attempts) = shrink(plan, report, rule);
    let again = run(&shrunk);
    let text = format!(
        "shrunk from {} faults to {} in {attempts} runs: {:?}\nagain, shrunk: {}\nas a scenario:\n{}",
        report.faults.len(),
        again.faults.len(),
        again.faults,
        Reproduction(&shrunk),
        scenario(&shrunk, rule)
    );
    Some((shrunk, text))
}

/// The smallest list of faults that was found, and the runs that it took.
fn shrink(plan: &Plan, report: &Report, rule: &str) -> (Plan, usize) {
    let with = |only: &[u64]| Plan {
        only: Some(only.to_vec()),
        ..plan.clone()
    };
    let mut attempts = 0;
    let mut breaks = |only: &[u64]| {
        attempts += 1;
        run(&with(only))
            .broken
            .is_some_and(|broken| broken.rule == rule)
    };
    let mut kept: Vec<u64> = report.faults.iter().map(|(number, _)| *number).collect();
    let mut parts = 1;
    let mut left = ATTEMPTS;
    while left > 0 && !kept.is_empty() {
        let size = kept.len().div_ceil(parts);
        let tried = kept
            .chunks(size)
            .take(left)
            .enumerate()
            .find_map(|(at, _)| {
                left -= 1;
                let others = kept.chunks(size).enumerate();
                let rest: Vec<u64> = others
                    .filter(|(other, _)| *other != at)
                    .flat_map(|(_, chunk)| chunk.iter().copied())
                    .collect();
                breaks(&rest).then_some(rest)
            });
        match tried {
            Some(rest) => {
                parts = parts.saturating_sub(1).max(2).min(rest.len().max(1));
                kept = rest;
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(kept.len()),
        }
    }
    (with(&kept), attempts)
}

/// The plan as a test that can be pasted into `scenarios.rs`.
fn scenario(plan: &Plan, rule: &str) -> String {
    format!(
        "#[test]\nfn seed_{seed}_keeps_{name}() {{\n    let plan = Plan {{\n        lasts: Duration::from_secs({lasts}),\n        \
         only: Some(vec!{only:?}),\n        ..Plan::of({seed})\n    }};\n    assert!(run(&plan).broken.is_none());\n}}",
        seed = plan.seed,
        name = rule
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_lowercase(),
        lasts = plan.lasts.as_secs(),
        only = plan.only.as_deref().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use annulus_node::simulation::Mistake;

    use super::*;
    use crate::run::run_traced;

    #[test]
    fn a_failure_keeps_its_rule_and_loses_the_faults_that_it_does_not_need() {
        let plan = Plan::of(1).with(Mistake::OneAckTooFew);
        let report = run(&plan);
        let (shrunk, text) = shrunk(&plan, &report).expect("it is found");
        let again = run_traced(&shrunk, false);
        let rule = |report: &Report| report.broken.as_ref().map(|broken| broken.rule.clone());
        assert_eq!(rule(&again), rule(&report));
        assert!(again.faults.len() < 3, "{text}");
        // What a person is shown: the way to the failure, and the disks.
        assert!(!again.trace.is_empty() && !again.disks.is_empty());
        for line in again.trace.iter().chain(&again.disks).chain([&text]) {
            println!("{line}");
        }
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for only in [vec![], vec![3], vec![1, 20, 300]] {
            let plan = Plan {
                only: Some(only.clone()),
                ..Plan::of(1)
            };
            let line = Reproduction(&plan).to_string();
            let (_, text) = line.split_once("--only ").expect("they are written");
            assert_eq!(numbers(text), only);
        }
    }
}
