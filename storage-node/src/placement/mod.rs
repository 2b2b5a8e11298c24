//! The placement that this node holds: which node owns which partition, epoch by epoch.
//!
//! | module | owns |
//! |---|---|
//! | [`decision`] | whether an offered placement is taken (pure) |
//! | [`fences`] | under which epochs each partition may still be asked for (pure) |
//! | [`holding`] | which copies there are to hold and to keep alike during moves (pure) |
//! | [`mod@file`] | the document on disk |
//! | [`home`] | where it outlives the process |
//! | [`store`] | the current placement, its installation, and who waits for the next |
//!
//! Invariants: the epoch held never falls, not over a restart either; a placement is on disk and the
//! vnodes that it gives this node exist before anybody acts on it; one epoch has one content. An epoch is acknowledged
//! once nothing can be applied here any more that an older one admitted, where the two differ.
//!
//! Leaves to others: making placements (the operator), and spreading them (`peer`, later gossip).

mod decision;
mod fences;
mod file;
mod holding;
mod home;
mod store;

pub(crate) use decision::PlacementRefused;
pub(crate) use file::has_other_owners;
pub(crate) use holding::{comparable, takes_writes};
pub(crate) use home::Home;
#[cfg(test)]
pub(crate) use store::tests;
pub(crate) use store::{InUse, InstallError, PlacementStore};
