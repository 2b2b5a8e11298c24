//! Clients that ask any node for anything, keep sessions, retry, and write down what they were told.
//!
//! | module | owns |
//! |---|---|
//! | [`ask`] | one request: what, with which terms, over which interface; drawn from the seed |
//! | [`client`] | a client's session: draws, asks, retries, records |
//! | [`grpc`], [`http`] | a request over one interface, and its answer in the checker's words |

pub(crate) mod ask;
pub(crate) mod client;
pub(crate) mod grpc;
pub(crate) mod http;

use annulus_causality::Context;
use annulus_checker::Outcome;

/// What a request came to.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// What the client has seen by it, to be given back with a later request.
    pub(crate) context: Option<Context>,
}

impl Answer {
    pub(crate) const UNKNOWN: Self = Self {
        outcome: Outcome::Unknown,
        context: None,
    };
    pub(crate) const REJECTED: Self = Self {
        outcome: Outcome::Rejected,
        context: None,
    };

    pub(crate) fn is_ok(&self) -> bool {
        !matches!(self.outcome, Outcome::Rejected | Outcome::Unknown)
    }
}
