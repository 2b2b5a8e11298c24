use annulus_causality::{Actor, KeyEpoch, VnodeId};
use proptest::prelude::*;

use super::*;

/// A state of `events` blind writes by as many vnodes.
fn state(events: &[u64]) -> Option<KeyState> {
    let mut state = KeyState::new();
    let clock: VersionVector = events
        .iter()
        .map(|vnode| (Actor::new(VnodeId(*vnode), KeyEpoch(1)), 1))
        .collect();
    state.discard(&clock);
    (!events.is_empty()).then_some(state)
}

fn digest(events: &[u64]) -> Answer {
    Answer::Digest(state(events).as_ref().map(KeyState::digest))
}

fn plan(candidates: usize, needed: usize) -> ReadPlan {
    ReadPlan::new(candidates, needed, ConflictPolicy::Siblings, None)
}

fn done(step: Step) -> Finding {
    match step {
        Step::Done(finding) => finding,
        other => panic!("not done: {other:?}"),
    }
}

#[test]
fn one_state_and_equal_digests_are_enough() {
    let mut plan = plan(3, 2);
    assert_eq!(
        plan.start(),
        Step::Wait(vec![(0, Ask::State), (1, Ask::Digest)])
    );
    assert_eq!(plan.answered(1, digest(&[1])), Step::Wait(vec![]));
    let finding = done(plan.answered(0, Answer::State(state(&[1]))));
    assert_eq!(
        finding,
        Finding {
            merged: state(&[1]),
            holders: vec![0, 1],
            stale: vec![]
        }
    );
}

#[test]
fn absent_everywhere_is_an_answer() {
    let mut plan = plan(3, 2);
    plan.start();
    plan.answered(0, Answer::State(None));
    assert_eq!(done(plan.answered(1, Answer::Digest(None))).merged, None);
}

#[test]
fn different_digests_make_the_owners_send_their_states() {
    let mut plan = plan(3, 2);
    plan.start();
    plan.answered(0, Answer::State(state(&[1])));
    assert_eq!(
        plan.answered(1, digest(&[1, 2])),
        Step::Wait(vec![(1, Ask::State)])
    );
    let finding = done(plan.answered(1, Answer::State(state(&[1, 2]))));
    assert_eq!(
        finding,
        Finding {
            merged: state(&[1, 2]),
            holders: vec![1],
            stale: vec![0]
        }
    );
}

#[test]
fn a_failed_owner_is_replaced_and_the_state_still_comes() {
    let mut plan = plan(3, 2);
    plan.start();
    assert_eq!(
        plan.answered(0, Answer::Failed(Ask::State)),
        Step::Wait(vec![(2, Ask::State)])
    );
    plan.answered(2, Answer::State(state(&[1])));
    assert_eq!(done(plan.answered(1, digest(&[1]))).holders, vec![1, 2]);
}

#[test]
fn an_owner_that_sent_its_digest_sends_the_state_when_nobody_else_can() {
    let mut plan = plan(2, 1);
    plan.start();
    assert_eq!(plan.speculate(), Some((1, Ask::State)));
    plan.answered(1, Answer::Failed(Ask::State));
    assert_eq!(done(plan.answered(0, Answer::State(None))).holders, vec![0]);

    let mut plan = super::ReadPlan::new(3, 2, ConflictPolicy::Siblings, None);
    plan.start();
    plan.answered(1, digest(&[1]));
    assert_eq!(
        plan.answered(0, Answer::Failed(Ask::State)),
        Step::Wait(vec![(2, Ask::State)])
    );
    assert_eq!(
        plan.answered(2, Answer::Failed(Ask::State)),
        Step::OutOfReach { answered: 1 }
    );
}

#[test]
fn too_few_owners_end_the_read() {
    let mut plan = plan(3, 3);
    plan.start();
    plan.answered(0, Answer::State(None));
    assert_eq!(
        plan.answered(2, Answer::Failed(Ask::Digest)),
        Step::OutOfReach { answered: 1 }
    );
}

#[test]
fn a_context_widens_the_read_up_to_all_owners() {
    let context = state(&[1, 2]).unwrap().context();
    let mut plan = ReadPlan::new(3, 1, ConflictPolicy::Siblings, Some(context));
    assert_eq!(plan.start(), Step::Wait(vec![(0, Ask::State)]));
    let widened = Step::Wait(vec![(1, Ask::State), (2, Ask::State)]);
    assert_eq!(plan.answered(0, Answer::State(state(&[1]))), widened);
    assert_eq!(
        plan.clone().answered(1, Answer::Failed(Ask::State)),
        Step::Wait(vec![])
    );
    let finding = done(plan.clone().answered(2, Answer::State(state(&[2]))));
    assert_eq!(
        finding,
        Finding {
            merged: state(&[1, 2]),
            holders: vec![],
            stale: vec![0, 2]
        }
    );
    plan.answered(1, Answer::State(None));
    assert_eq!(
        plan.answered(2, Answer::State(None)),
        Step::ContextNotReached
    );
}

#[test]
fn a_late_answer_to_the_first_question_is_ignored_after_the_second() {
    let mut plan = plan(3, 2);
    plan.start();
    plan.answered(0, Answer::State(state(&[1])));
    plan.answered(1, digest(&[2]));
    assert_eq!(plan.answered(1, digest(&[2])), Step::Wait(vec![]));
    assert_eq!(
        done(plan.answered(1, Answer::State(state(&[2])))).merged,
        state(&[1, 2])
    );
}

/// What an owner does in the random runs: its events, or failure, and its turn in the order of answers.
fn owners() -> impl Strategy<Value = Vec<(Option<Vec<u64>>, u32)>> {
    let known =
        prop::collection::btree_set(0..3_u64, 0..3).prop_map(|set| set.into_iter().collect());
    prop::collection::vec((prop::option::weighted(0.8, known), any::<u32>()), 1..6)
}

proptest! {
    /// Whatever the order of answers, failures and speculation: the read ends, and rests on R owners
    /// whose merge it returns; it fails only when fewer than R owners can answer.
    #[test]
    fn a_read_ends_well_exactly_when_enough_owners_answer(
        owners in owners(),
        needed in 1..6_usize,
        speculate in any::<bool>(),
    ) {
        let needed = needed.min(owners.len());
        let mut plan = plan(owners.len(), needed);
        let mut queue: Vec<Question> = Vec::new();
        let mut step = plan.start();
        let finding = loop {
            match step {
                Step::Wait(questions) => queue.extend(questions),
                Step::Done(finding) => break Some(finding),
                Step::OutOfReach { .. } | Step::ContextNotReached => break None,
            }
            if speculate {
                queue.extend(plan.speculate());
            }
            queue.sort_by_key(|(place, _)| owners[*place].1);
            prop_assert!(!queue.is_empty(), "waits for nothing: {plan:?}");
            let (place, ask) = queue.remove(0);
            let answer = match (&owners[place].0, ask) {
                (None, ask) => Answer::Failed(ask),
                (Some(events), Ask::State) => Answer::State(state(events)),
                (Some(events), Ask::Digest) => digest(events),
            };
            step = plan.answered(place, answer);
        };
        let able = owners.iter().filter(|(known, _)| known.is_some()).count();
        prop_assert_eq!(finding.is_some(), able >= needed);
        if let Some(finding) = finding {
            let places: Vec<_> = finding.holders.iter().chain(&finding.stale).copied().collect();
            prop_assert!(places.len() >= needed);
            let states: Vec<_> =
                places.iter().map(|p| state(owners[*p].0.as_ref().unwrap())).collect();
            let all = merge_replies(states.iter().map(Option::as_ref), ConflictPolicy::Siblings);
            prop_assert_eq!(&finding.merged, &all);
            for place in &finding.holders {
                prop_assert_eq!(&state(owners[*place].0.as_ref().unwrap()), &all);
            }
        }
    }
}
