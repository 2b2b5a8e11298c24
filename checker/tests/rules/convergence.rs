//! C6.

use annulus_checker::Record;
use annulus_checker::Rule::Convergence;
use annulus_ring::PlacementDocument;

use crate::epochs_and_moves::{nodes, placement_of};
use crate::scenario::{FAULTY, breaks, dot, held, held_by_all, holds, put, records};

fn start() -> Vec<Record> {
    let mut history = records![put(1, 0, &[], dot(1, 1))];
    history.extend(held_by_all(&[(1, dot(1, 1))], &[dot(1, 1)]));
    history
}

#[test]
fn owners_differ() {
    holds(start(), FAULTY);
    let mut clocks = start();
    let state = held(4, &[(1, dot(1, 1))], &[dot(1, 1), dot(2, 1)]);
    clocks.push(Record::FinalState(state));
    breaks(Convergence, clocks, FAULTY);
    let mut absent = start();
    let mut state = held(4, &[], &[]);
    state.state = None;
    absent.push(Record::FinalState(state));
    breaks(Convergence, absent, FAULTY);
}

#[test]
fn bytes_of_expired_values_may_be_gone() {
    let state = |number, value| {
        let mut state = held(number, &[(value, dot(1, 1))], &[dot(1, 1)]);
        let held = state.state.as_mut().expect("it holds a state");
        held.siblings[0].expires_at_ms = Some(5);
        Record::FinalState(state)
    };
    let value = put(1, 0, &[], dot(1, 1)).ttl_ms(5);
    holds(vec![value.into(), state(1, 1), state(2, 0)], FAULTY);
}

#[test]
fn a_node_that_is_no_owner_is_not_compared_and_must_not_hold_the_key() {
    let placement = placement_of(&nodes(3));
    let mut history = start();
    history.push(Record::Placement(Box::new(PlacementDocument::from(
        &placement,
    ))));
    holds(history.clone(), FAULTY);
    let mut nothing = held(9, &[], &[]);
    nothing.state = None;
    history.push(Record::FinalState(nothing));
    holds(history.clone(), FAULTY);
    history.push(Record::FinalState(held(8, &[(1, dot(1, 1))], &[dot(1, 1)])));
    breaks(Convergence, history, FAULTY);
}
