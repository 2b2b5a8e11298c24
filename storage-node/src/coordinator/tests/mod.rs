//! Coordinators of several nodes together, over networks and disks in memory.

mod cluster;
mod damage;
mod deletes;
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

pub(crate) use cluster::{Ask, TestNode};
