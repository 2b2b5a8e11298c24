//! Coordinators of several nodes together, over networks and disks in memory.

mod ask;
mod cluster;
mod damage;
mod deletes;
mod filling;
mod hints;
mod history;
mod moves;
mod owners_down;
mod placements;
mod reads;
mod reaping;
mod sloppy;
mod slow_disks;
mod writes;

pub(crate) use ask::Ask;
pub(crate) use cluster::TestNode;
