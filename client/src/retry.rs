//! After a failed attempt: again, where and when, or not at all. Pure.
//!
//! Reads may always be repeated, and so may writes, because all attempts of a write carry the same
//! request id. A write goes back to the node that may already have minted its dot, which knows the
//! id best, unless that node is silent.

use std::time::Duration;

use annulus_proto::model::ErrorCode;

use crate::budget::Budget;

/// When and how often a failed attempt is repeated. On top of these bounds, retries are at most a
/// tenth of a client's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts of one request, the first included; 1 means that nothing is repeated. Default 8.
    pub max_attempts: u32,
    /// The pause before the first retry; it doubles with each one. Default 10 ms.
    pub first_pause: Duration,
    /// The longest pause. Default 500 ms.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 8,
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_millis(500),
        }
    }
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection: the node never saw the request.
    Unreached,
    /// The connection broke before the answer.
    Broken,
    /// No answer within the attempt's time.
    Silent,
    /// The node answered with an error.
    Answered {
        /// Its code.
        code: ErrorCode,
        /// Its advice.
        retry_after: Option<Duration>,
    },
}

/// Where a request stands after a failed attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// Attempts made, the failed one included.
    pub(crate) attempts: u32,
    /// Whether some candidate node has not been tried yet.
    pub(crate) untried_nodes: bool,
    /// Time left until the deadline.
    pub(crate) remaining: Duration,
}

/// Where the next attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    /// To the same node.
    Same,
    /// To the next candidate.
    Next,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The error is the request's.
    GiveUp,
    /// Another attempt after a pause.
    Retry { node: Node, pause: Duration },
}

/// Decides; takes from the budget if the verdict is a retry that costs the cluster anything.
/// `jitter` is random in [0, 1).
pub(crate) fn decide(
    policy: &RetryPolicy,
    failure: Failure,
    standing: Standing,
    budget: &mut Budget,
    jitter: f64,
) -> Verdict {
    if standing.attempts >= policy.max_attempts {
        return Verdict::GiveUp;
    }
    let pause = pause(policy, standing.attempts, jitter);
    let (node, pause) = match failure {
        // A node that is gone costs the others nothing: look for one that is there, at once.
        Failure::Unreached if standing.untried_nodes => {
            return Verdict::Retry {
                node: Node::Next,
                pause: Duration::ZERO,
            };
        }
        Failure::Unreached | Failure::Silent => (Node::Next, pause),
        Failure::Broken => (Node::Same, pause),
        Failure::Answered { code, .. } if !code.is_retryable() => return Verdict::GiveUp,
        Failure::Answered { code, retry_after } => {
            (node_after(code), pause.max(retry_after.unwrap_or_default()))
        }
    };
    if pause >= standing.remaining || !budget.take() {
        return Verdict::GiveUp;
    }
    Verdict::Retry { node, pause }
}

fn node_after(code: ErrorCode) -> Node {
    match code {
        ErrorCode::Overloaded | ErrorCode::Unavailable | ErrorCode::DiskFull => Node::Next,
        _ => Node::Same,
    }
}

/// Exponential with jitter: between half of the pause and all of it, so that clients that failed
/// together don't come back together.
fn pause(policy: &RetryPolicy, attempts: u32, jitter: f64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let whole = policy
        .first_pause
        .saturating_mul(1 << doublings)
        .min(policy.longest_pause);
    whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRESH: Standing = Standing {
        attempts: 1,
        untried_nodes: true,
        remaining: Duration::from_secs(5),
    };

    fn decide_fresh(failure: Failure) -> Verdict {
        decide(
            &RetryPolicy::default(),
            failure,
            FRESH,
            &mut Budget::default(),
            0.0,
        )
    }

    fn answered(code: ErrorCode) -> Failure {
        Failure::Answered {
            code,
            retry_after: None,
        }
    }

    #[test]
    fn what_is_wrong_with_the_request_is_never_repeated() {
        for code in ErrorCode::ALL.iter().filter(|code| !code.is_retryable()) {
            assert_eq!(decide_fresh(answered(*code)), Verdict::GiveUp, "{code}");
        }
    }

    #[test]
    fn an_absent_node_is_passed_over_at_once_and_without_cost() {
        let mut empty = Budget::default();
        while empty.take() {}
        let verdict = decide(
            &RetryPolicy::default(),
            Failure::Unreached,
            FRESH,
            &mut empty,
            0.9,
        );
        assert_eq!(
            verdict,
            Verdict::Retry {
                node: Node::Next,
                pause: Duration::ZERO
            }
        );
    }

    #[test]
    fn a_broken_write_returns_to_the_node_that_may_have_minted_it() {
        assert!(matches!(
            decide_fresh(Failure::Broken),
            Verdict::Retry {
                node: Node::Same,
                ..
            }
        ));
        assert!(matches!(
            decide_fresh(answered(ErrorCode::Timeout)),
            Verdict::Retry {
                node: Node::Same,
                ..
            }
        ));
    }

    #[test]
    fn a_silent_or_overloaded_node_is_left_for_another() {
        for failure in [Failure::Silent, answered(ErrorCode::Overloaded)] {
            assert!(matches!(
                decide_fresh(failure),
                Verdict::Retry {
                    node: Node::Next,
                    ..
                }
            ));
        }
    }

    #[test]
    fn the_server_s_advice_is_the_shortest_pause() {
        let after = Duration::from_secs(1);
        let failure = Failure::Answered {
            code: ErrorCode::Overloaded,
            retry_after: Some(after),
        };
        assert_eq!(
            decide_fresh(failure),
            Verdict::Retry {
                node: Node::Next,
                pause: after
            }
        );
    }

    #[test]
    fn no_retry_begins_after_the_deadline() {
        let late = Standing {
            remaining: Duration::from_millis(4),
            ..FRESH
        };
        let verdict = decide(
            &RetryPolicy::default(),
            Failure::Broken,
            late,
            &mut Budget::default(),
            0.0,
        );
        assert_eq!(verdict, Verdict::GiveUp);
    }

    #[test]
    fn a_spent_budget_stops_retries_that_cost() {
        let mut empty = Budget::default();
        while empty.take() {}
        let verdict = decide(
            &RetryPolicy::default(),
            Failure::Broken,
            FRESH,
            &mut empty,
            0.0,
        );
        assert_eq!(verdict, Verdict::GiveUp);
    }

    proptest! {
        #[test]
        fn attempts_and_pauses_stay_within_their_bounds(attempts in 1u32..100, jitter in 0.0f64..1.0) {
            let policy = RetryPolicy::default();
            let standing = Standing { attempts, ..FRESH };
            match decide(&policy, Failure::Broken, standing, &mut Budget::default(), jitter) {
                Verdict::GiveUp => prop_assert!(attempts >= policy.max_attempts),
                Verdict::Retry { pause, .. } => {
                    prop_assert!(attempts < policy.max_attempts);
                    prop_assert!(pause <= policy.longest_pause && pause >= policy.first_pause / 2);
                }
            }
        }
    }
}
