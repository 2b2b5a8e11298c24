//! Reclaiming: deleted keys are forgotten once nothing can bring them back, and the bytes of expired values
//! go. The rules and why they are enough: `docs/protocol/deletes.md`.
//!
//! | module | owns |
//! |---|---|
//! | [`turn`] | whose turn a tombstone is (pure) |
//! | [`phases`] | what the owners' answers allow, and when (pure) |
//! | [`tally`] | what there is to reclaim, and what holds it up |
//! | [`reaper`] | the driver: scans this node's vnodes, and carries out the two phases |
//! | [`owners`] | one owner's part of a phase, here or elsewhere |
//! | [`metrics`] | figures |
//!
//! Invariants:
//! - a tombstone is removed at any owner only after all owners held it on disk, to the byte, under one
//!   placement, and after every request that was under way then has ended;
//! - nothing here mints; an expired value's dot stays until its key is reaped;
//! - reclaiming is bounded in bytes and keys a second, and in rounds that wait.
//!
//! Leaves to others: the local steps (`replica`), the messages (`peer`), who is alive (`membership`).

mod metrics;
mod owners;
mod phases;
mod reaper;
mod tally;
mod turn;

#[cfg(test)]
mod lives_test;

pub(crate) use metrics::ReapingMetrics;
pub(crate) use reaper::{Pace, Reaper, ReaperParts};
pub(crate) use tally::{ReapingReport, ReapingStatus};
