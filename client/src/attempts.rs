//! Drives one request through its attempts: sends, reads the answer, asks `retry` what follows.

use std::error::Error;
use std::time::Duration;

use annulus_proto::model::{ErrorCode, Outcome, RequestError};
use annulus_proto::read_status;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tonic::{ConnectError, Request, Response, Status};
use tracing::debug;

use crate::budget::Budget;
use crate::clock;
use crate::error::ClientError;
use crate::operation::Operation;
use crate::pool::Pool;
use crate::retry::{Failure, Node, RetryPolicy, Standing, Verdict, decide};
use crate::route::Address;

/// What all requests of a client share.
pub(crate) struct Attempts {
    pub(crate) pool: Pool,
    pub(crate) policy: RetryPolicy,
    pub(crate) attempt_timeout: Duration,
    pub(crate) budget: Mutex<Budget>,
}

/// A failed attempt.
struct Failed {
    failure: Failure,
    error: RequestError,
}

impl Attempts {
    /// Sends the request to the nodes of `route`, which is not empty, until one answers, no attempt
    /// is left, or the time is over.
    pub(crate) async fn run<O: Operation>(
        &self,
        route: &[Address],
        operation: &O,
        whole_time: Duration,
    ) -> Result<Response<O::Answer>, ClientError> {
        let deadline = clock::now() + whole_time;
        self.budget.lock().pay_in();
        let (mut at, mut tried, mut attempts) = (0, 1, 0);
        let mut outcome = Outcome::Rejected;
        let mut reached = false;
        loop {
            attempts += 1;
            let address = &route[at % route.len()];
            let failed = match self.attempt(address, operation, deadline).await? {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            debug!(%address, attempts, error = %failed.error, "attempt failed");
            reached |= failed.failure != Failure::Unreached;
            if failed.error.outcome == Outcome::Unknown {
                outcome = Outcome::Unknown;
            }
            let standing = Standing {
                attempts,
                untried_nodes: tried < route.len(),
                remaining: deadline.saturating_duration_since(clock::now()),
            };
            let verdict = {
                let mut budget = self.budget.lock();
                decide(
                    &self.policy,
                    failed.failure,
                    standing,
                    &mut budget,
                    clock::random_unit(),
                )
            };
            match verdict {
                Verdict::GiveUp if reached => {
                    let error = RequestError {
                        outcome,
                        ..failed.error
                    };
                    return Err(ClientError::answered(error, attempts));
                }
                Verdict::GiveUp => {
                    return Err(ClientError::unreached(failed.error.message, attempts));
                }
                Verdict::Retry { node, pause } => {
                    if node == Node::Next {
                        at += 1;
                        tried += 1;
                    }
                    sleep(pause).await;
                }
            }
        }
    }

    /// One attempt. The outer error is one that no attempt can mend.
    async fn attempt<O: Operation>(
        &self,
        address: &Address,
        operation: &O,
        deadline: Instant,
    ) -> Result<Result<Response<O::Answer>, Failed>, ClientError> {
        let now = clock::now();
        let channel = self.pool.channel(address, now)?;
        let time = self
            .attempt_timeout
            .min(deadline.saturating_duration_since(now));
        let mut request = Request::new(operation.clone());
        request.set_timeout(time);
        let Ok(result) = timeout(time, O::send(channel, request)).await else {
            self.pool.avoid(address, clock::now());
            return Ok(Err(silent(address, time)));
        };
        Ok(match result {
            Ok(answer) => {
                self.pool.welcome(address);
                Ok(answer)
            }
            Err(status) => {
                let failed = failed(address, &status, time);
                match failed.failure {
                    Failure::Answered { .. } => self.pool.welcome(address),
                    _ => self.pool.avoid(address, clock::now()),
                }
                Err(failed)
            }
        })
    }
}

fn silent(address: &Address, time: Duration) -> Failed {
    let message = format!(
        "{address} did not answer within {}; the request may have taken effect",
        humantime::format_duration(Duration::from_millis(whole_millis(time)))
    );
    Failed {
        failure: Failure::Silent,
        error: RequestError::unknown(ErrorCode::Timeout, message),
    }
}

fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Tells an answer of the node from a connection that was never made or that broke: only the latter
/// have a source, an error of the transport.
fn failed(address: &Address, status: &Status, time: Duration) -> Failed {
    let Some(source) = status.source() else {
        let error = read_status(status);
        let failure = Failure::Answered {
            code: error.code,
            retry_after: error.retry_after,
        };
        return Failed { failure, error };
    };
    if is_caused_by::<ConnectError>(source) {
        let message = format!("{address} can't be reached: {}", root_cause(source));
        let error = RequestError::rejected(ErrorCode::Unavailable, message);
        return Failed {
            failure: Failure::Unreached,
            error,
        };
    }
    if is_caused_by::<tonic::TimeoutExpired>(source) {
        return silent(address, time);
    }
    let message = format!("the connection to {address} broke: {}", root_cause(source));
    Failed {
        failure: Failure::Broken,
        error: RequestError::unknown(ErrorCode::Unavailable, message),
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        (*error).source()
    })
}

fn is_caused_by<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(<dyn Error>::is::<E>)
}

fn root_cause(error: &(dyn Error + 'static)) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}
