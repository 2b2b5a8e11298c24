//! C3.

use annulus_checker::Rule::NoPhantom;

use crate::scenario::{FAULTY, breaks, dot, get, held_by_all, holds, put, records};

#[test]
fn values_that_nobody_can_have_written() {
    let shown = || get(2, 100, &[(1, dot(1, 1))], &[dot(1, 1)]);
    let value = |at| put(1, at, &[], dot(1, 1));
    breaks(NoPhantom, records![shown()], FAULTY);
    breaks(NoPhantom, records![value(0).rejected(), shown()], FAULTY);
    breaks(
        NoPhantom,
        records![value(0).on_key("other"), shown()],
        FAULTY,
    );
    breaks(NoPhantom, records![value(200), shown()], FAULTY);
    holds(records![value(0), shown()], FAULTY);
    holds(records![value(105), shown()], FAULTY);
    holds(records![value(0).unknown(), shown()], FAULTY);
}

#[test]
fn a_rejected_attempt_after_one_that_may_have_happened_is_no_rejection() {
    let shown = get(2, 100, &[(1, dot(1, 1))], &[dot(1, 1)]);
    let retried = put(1, 0, &[], dot(1, 1)).rejected().retried(50, dot(1, 1));
    holds(records![retried, shown], FAULTY);
}

#[test]
fn rejected_value_is_held_at_the_end() {
    let mut history = records![put(1, 0, &[], dot(1, 1)).rejected()];
    history.extend(held_by_all(&[(1, dot(1, 1))], &[dot(1, 1)]));
    breaks(NoPhantom, history, FAULTY);
}

#[test]
fn a_request_is_shown_twice() {
    let twice = [(1, dot(1, 1)), (1, dot(2, 1))];
    let shown = || get(2, 100, &twice, &[dot(1, 1), dot(2, 1)]);
    let value = put(1, 0, &[], dot(1, 1)).retried(20, dot(2, 1));
    breaks(NoPhantom, records![value.clone(), shown()], FAULTY);
    // Without a request id the store can't tell that a second attempt is the same write.
    holds(records![value.without_request(), shown()], FAULTY);
}
