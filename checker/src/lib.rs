//! Judges recorded histories by what the store promises.
//!
//! A recording is a list of [`Record`]s: what clients asked for and were told, what nodes held at the end, and
//! the placements. [`History::new`] takes them, from memory or from a file ([`json_lines`]).
//!
//! The crate is pure: no clock, no network, no randomness; who records and who runs the faults is another matter.

#![forbid(unsafe_code)]

mod causality_text;
mod history;
pub mod json_lines;
mod operation;
mod record;
mod violation;

pub use history::{History, HistoryError, Tolerance};
pub use operation::{
    Attempt, Consistency, Deleted, Found, KeyName, Kind, Operation, OperationId, Outcome, Policy,
    RequestName, Shown, ValueId, Verdict, Written, minted_dot,
};
pub use record::{FinalState, HeldSibling, HeldState, NodeEpoch, Record, Reply};
pub use violation::{Rule, Violation};
