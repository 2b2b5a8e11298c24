//! The rules against a model that keeps the promises: whatever it does, no rule speaks. And against the same
//! recordings with a promise broken: the rule concerned does.

mod model;

use annulus_causality::{ConflictPolicy, Dot};
use annulus_checker::rules::{c1_no_lost_update, c2_no_resurrection, c4_causality, c5_freshness};
use annulus_checker::{
    Consistency, Found, History, Kind, Operation, OperationId, Outcome, Record, Report, Shown,
    Tolerance, ValueId, Verdict, check_all,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use model::{TOLERANCE, Weather, live, steps};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        max_global_rejects: 40 * cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

const STORM: Weather = Weather {
    doubles: true,
    endings: true,
};
const NO_DOUBLES: Weather = Weather {
    doubles: false,
    ..STORM
};
/// Every value lives until a context covers it.
const PLAIN: Weather = Weather {
    doubles: false,
    endings: false,
};
const EXACT: Tolerance = Tolerance {
    lost_answers: false,
    ..TOLERANCE
};

fn history(records: &[Record], tolerance: Tolerance) -> History {
    History::new(records.to_vec(), tolerance).expect("the model records a history")
}

fn silent(records: &[Record], tolerance: Tolerance) -> Result<(), TestCaseError> {
    let history = history(records, tolerance);
    let found = check_all(&history);
    prop_assert!(found.is_empty(), "{}", Report::new(&history, &found));
    Ok(())
}

fn operations(records: &[Record]) -> impl DoubleEndedIterator<Item = &Operation> {
    records.iter().filter_map(|record| match record {
        Record::Operation(operation) => Some(operation),
        _ => None,
    })
}

/// Acknowledged puts with their value and dot.
fn acknowledged(records: &[Record]) -> Vec<(&Operation, ValueId, Dot)> {
    let puts = operations(records);
    puts.filter_map(|put| Some((put, put.value()?.clone(), put.acknowledged_dots().next()?)))
        .collect()
}

fn covers(write: &Operation, dot: Dot) -> bool {
    write.verdict() != Verdict::Rejected
        && write
            .sent_context()
            .is_some_and(|context| context.covers(dot))
}

/// The last read, which all replicas answer.
fn last_read(records: &mut [Record]) -> &mut Found {
    let found = records.iter_mut().rev().find_map(|record| match record {
        Record::Operation(operation) => match &mut operation.attempts[0].outcome {
            Outcome::Found(found) => Some(found),
            _ => None,
        },
        _ => None,
    });
    found.expect("the model ends with a read")
}

/// The first of the candidates, or the case is none.
fn pick<T>(candidates: impl IntoIterator<Item = T>) -> Result<T, TestCaseError> {
    let first = candidates.into_iter().next();
    first.ok_or_else(|| TestCaseError::reject("nothing to break"))
}

proptest! {
    #![proptest_config(config(3_000))]

    #[test]
    fn lawful_lives_pass_whatever_happens(steps in steps(STORM)) {
        silent(&live(&steps, ConflictPolicy::Siblings), TOLERANCE)?;
    }

    #[test]
    fn lawful_lives_pass_where_no_answer_is_lost(steps in steps(NO_DOUBLES)) {
        silent(&live(&steps, ConflictPolicy::Siblings), EXACT)?;
    }

    #[test]
    fn lawful_lives_pass_where_the_last_writer_wins(steps in steps(STORM)) {
        silent(&live(&steps, ConflictPolicy::Lww), TOLERANCE)?;
    }
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn an_acknowledged_write_dropped_by_all_is_found(steps in steps(PLAIN)) {
        let mut records = live(&steps, ConflictPolicy::Siblings);
        let living = acknowledged(&records).into_iter().filter(|(_, _, dot)| {
            !operations(&records).any(|write| covers(write, *dot))
        });
        let (_, _, dropped) = pick(living)?;
        for record in &mut records {
            if let Record::FinalState(held) = record
                && let Some(state) = &mut held.state
            {
                state.siblings.retain(|sibling| sibling.dot != dropped);
            }
        }
        prop_assert!(!c1_no_lost_update::check(&history(&records, EXACT)).is_empty());
    }

    #[test]
    fn a_replaced_value_that_comes_back_is_found(steps in steps(STORM)) {
        let mut records = live(&steps, ConflictPolicy::Siblings);
        let removed = acknowledged(&records).into_iter().filter(|(_, _, dot)| {
            operations(&records).any(|write| {
                let found_nothing = write.attempts.iter().any(|attempt| matches!(
                    &attempt.outcome, Outcome::Deleted(deleted) if deleted.existed == Some(false)
                ));
                covers(write, *dot) && write.acknowledged_at_us().is_some() && !found_nothing
            })
        });
        let (_, value, dot) = pick(removed)?;
        last_read(&mut records).values.push(Shown { value, dot: Some(dot) });
        prop_assert!(!c2_no_resurrection::check(&history(&records, TOLERANCE)).is_empty());
    }

    #[test]
    fn a_stale_read_is_found(steps in steps(STORM)) {
        let mut records = live(&steps, ConflictPolicy::Siblings);
        let (put, _, dot) = pick(acknowledged(&records).into_iter().rev())?;
        let put = put.id;
        // What some read showed before that write is shown once more at the end.
        let earlier = operations(&records).find_map(|get| match &get.attempts[0].outcome {
            Outcome::Found(found) if get.id < put => Some(found.clone()),
            _ => None,
        });
        let stale = earlier.unwrap_or_default();
        prop_assume!(stale.context.as_ref().is_none_or(|context| !context.covers(dot)));
        let context = Some(stale.context.unwrap_or_default());
        *last_read(&mut records) = Found { context, ..stale };
        prop_assert!(!c5_freshness::check(&history(&records, TOLERANCE)).is_empty());
    }

    #[test]
    fn another_value_under_a_dot_is_found(steps in steps(STORM)) {
        let mut records = live(&steps, ConflictPolicy::Siblings);
        let (_, _, dot) = pick(acknowledged(&records))?;
        let other = ValueId("another".to_owned());
        let mut put = operations(&records).next().expect("there is one").clone();
        put.id = OperationId(u64::MAX);
        put.kind = Kind::Put { value: other.clone(), context: None, ttl_us: None };
        put.request = None;
        put.consistency = Consistency::QUORUM;
        put.attempts.truncate(1);
        put.attempts[0].outcome = Outcome::Unknown;
        records.push(Record::Operation(put));
        let swapped = Shown { value: other, dot: Some(dot) };
        last_read(&mut records).values.push(swapped);
        prop_assert!(!c4_causality::check(&history(&records, TOLERANCE)).is_empty());
    }
}
