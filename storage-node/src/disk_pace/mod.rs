//! Disks that fail slowly: they do what they are asked, and take ten times as long as the others'.
//!
//! | module | owns |
//! |---|---|
//! | `window` | the 99th percentile of the last minute (pure) |
//! | `meter` | what this node's disk takes, as it is measured |
//! | `comparison` | whether this node's disk is slow beside the others' (pure) |
//! | `standing` | what is known of which node's disk, as coordinators and status ask for it |
//! | `driver` | asks the others how their disks are, and draws the conclusion |
//!
//! Invariants: each node accuses its own disk alone, and the others take its word, so a node with a slow
//! network accuses nobody; a verdict changes the order in which owners are asked, never who owns what.
//!
//! Leaves to others: measuring (`replica`), what order owners are asked in (`coordinator`), replacing the disk
//! (whoever runs the cluster).

mod comparison;
mod driver;
mod meter;
mod standing;
mod window;

use std::time::Duration;

pub(crate) use driver::{Comparer, ComparerParts};
pub(crate) use meter::DiskMeter;
pub(crate) use standing::DiskStanding;

/// What a disk takes: 99 of 100 are done in that time. `None`: too few were, to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DiskPace {
    /// Synced log writes.
    pub(crate) sync: Option<Duration>,
    /// Reads that memory could not answer.
    pub(crate) read: Option<Duration>,
}

/// What a node says of its disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DiskReport {
    /// What it takes.
    pub(crate) pace: DiskPace,
    /// The node finds it slow.
    pub(crate) is_slow: bool,
}

/// When a disk is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlowDiskRules {
    /// It takes more than so many times what the others' median takes.
    pub(crate) factor: u32,
    /// And more than this.
    pub(crate) at_least: Duration,
    /// Without a break for so long. As long without it, and it is slow no more.
    pub(crate) lasting: Duration,
    /// How often the others are asked.
    pub(crate) every: Duration,
}

/// For messages, in microseconds: 0 stands for what can't be told.
pub(crate) fn micros(told: Option<Duration>) -> u64 {
    told.map_or(0, |told| {
        u64::try_from(told.as_micros()).unwrap_or(u64::MAX)
    })
}
