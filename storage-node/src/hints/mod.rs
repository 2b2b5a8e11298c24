//! Writes kept for owners that are away, and their delivery: hinted handoff and the sloppy quorum.
//!
//! | module | owns |
//! |---|---|
//! | [`record`] | a hint on disk: its key, its form, when it is too old (pure) |
//! | [`backlog`] | how much is kept for whom, and what no longer is (pure) |
//! | [`credit`] | the receiver's leave to send (pure) |
//! | [`attempts`] | when an owner is tried (pure) |
//! | [`mod@fallbacks`] | who stands in for an owner (pure) |
//! | [`marks`] | what lacks writes that nobody keeps (pure) |
//! | [`store`] | the driver that keeps, removes and marks |
//! | [`receiver`] | the driver that takes what others kept |
//! | [`replayer`], [`delivery`] | the driver that delivers: one task a target; one page of its hints |
//! | [`metrics`] | figures |
//!
//! A hint is the full state of one key for one target; a later one of the same key takes its place.
//! It lies in the engine, written by the partition's committer under the group's fsync
//! (`docs/adr/0010-hints-in-the-engine.md`).
//!
//! Invariants:
//! - an ordinary hint is a favour: it may be dropped, and then its partition is marked as in need of
//!   repair at that target; a sloppy one was counted for an acknowledgement: it is never dropped;
//! - the receiver takes no hint whose write is older than the time to live, by the write's own stamp;
//! - a delivery merges, under a deadline and the placement's epoch; it never mints;
//! - a hint is removed when its target has it on disk, and only if it is still what was sent.
//!
//! Leaves to others: which node is alive (`membership`), comparing copies (anti-entropy).

mod attempts;
mod backlog;
mod credit;
mod delivery;
mod fallbacks;
mod marks;
mod metrics;
mod receiver;
mod record;
mod replayer;
mod store;

pub(crate) use backlog::TargetBacklog;
pub(crate) use credit::Grant;
pub(crate) use fallbacks::fallbacks;
pub(crate) use marks::MarkNumber;
pub(crate) use metrics::HintMetrics;
pub(crate) use receiver::{Handover, Taken};
#[cfg(feature = "simulation")]
pub(crate) use record::{Hint, hint_target};
pub(crate) use replayer::{Replayer, ReplayerParts};
pub(crate) use store::{HintParts, Hints, KeepFor};
