//! Judges recorded histories by what the store promises.
//!
//! | module | owns |
//! |---|---|
//! | [`Operation`], [`Record`] | what is recorded: operations with their attempts, final states, placements, epochs |
//! | [`json_lines`] | recordings as files |
//! | [`History`] | a recording, checked, with what is tolerated |
//! | [`rules`] | the promises, one in a file; [`check_all`] |
//! | [`report`] | findings for people |
//! | [`copies`] | whether the owners of a key hold the same |
//!
//! Soundness first: a rule speaks only where no lawful run could have been recorded so. An `unknown` outcome may
//! take effect at any later time or never; a request may have become two events; clocks are off by the
//! [`Tolerance`]. What the recording leaves out (a dot, a context, an owner's state) is not judged. The page of
//! the rules is `docs/protocol/checker.md`.
//!
//! The crate is pure: no clock, no network, no randomness; who records and who runs the faults is another matter.

#![forbid(unsafe_code)]

mod as_of;
mod causality_text;
pub mod copies;
mod due;
mod history;
pub mod json_lines;
mod key_history;
mod operation;
mod record;
mod removed;
mod replacement;
pub mod report;
pub mod rules;
mod violation;

pub use history::{History, HistoryError, Tolerance};
pub use operation::{
    Attempt, Consistency, Deleted, Found, KeyName, Kind, Operation, OperationId, Outcome, Policy,
    RequestName, Shown, ValueId, Verdict, Written, minted_dot,
};
pub use record::{FinalState, HeldSibling, HeldState, KeyspacePromise, NodeEpoch, Record, Reply};
pub use report::Report;
pub use rules::check_all;
pub use violation::{Rule, Violation};
