//! Anti-entropy: finds what the owners of a partition have different, whoever missed it, and mends it.
//!
//! | module | owns |
//! |---|---|
//! | [`exchange`] | one comparison of two copies, step by step (pure) |
//! | `schedule` | which comparison is next (pure) |
//! | `comparison` | the driver of one exchange |
//! | `runner` | the driver of the schedule: one comparison at a time |
//! | `scrub` | reads data back and compares it with its tree |
//! | `metrics` | figures |
//!
//! Invariants:
//! - the stored tree is that of the stored data after any crash (I18): both change in one batch (`replica`);
//! - the tree knows clocks and dots only, so no value and no expiry makes copies differ (I20);
//! - only what differs in the same way twice is moved; what is moved goes through the merge that every
//!   replica write goes through, under the partition's epoch and a deadline, and never mints;
//! - it costs at most the configured bytes a second, and one comparison at a time;
//! - what hints have lost (`hints`) is compared at once, and stays marked until it was.
//!
//! Leaves to others: the tree (`hash_tree`) and its place on disk (`replica`), the messages (`peer`), who is there (`peer`).

pub mod exchange;

mod comparison;
mod metrics;
mod runner;
mod schedule;
mod scrub;

pub(crate) use comparison::{Comparison, ComparisonError, Purpose};
pub(crate) use metrics::AntiEntropyMetrics;
pub(crate) use runner::{AntiEntropy, AntiEntropyParts, Settings};
pub(crate) use schedule::{ComparisonStatus, Reason};
pub(crate) use scrub::{Scrub, ScrubMetrics, ScrubParts, ScrubSettings};
