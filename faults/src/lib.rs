//! Real node processes under real faults, judged by the checker that judges simulations.
//!
//! | module | owns |
//! |---|---|
//! | [`plan`], [`fault`], [`chance`] | which faults come when: drawn from a seed; pure |
//! | [`run`] | a whole run: set up, clients and faults, healing, judgement |
//! | [`beside`] | what clients notice of background work |
//! | [`throttle`] | whether moves keep to their limit of bytes a second |
//! | [`outage`] | one node away for long, and what brings its copies back |
//! | `conductor` | begins and ends faults at their times |
//! | `damage`, `disk`, `rebuild` | damaged, full and replaced disks |
//! | `network`, `wall_clock`, `node_process` | what a fault is done to |
//! | [`isolation`], `site`, `founding`, `ring`, `reshape` | namespaces, places, the ring and who is in it |
//! | `workload`, `filling`, `values`, `recording` | clients and what they were told |
//! | `convergence`, `copies`, [`judge`] | what the nodes hold at the end; the rules |
//!
//! Invariants: all that a run makes is inside of namespaces of its own; every fault ends; what the seed decides
//! is decided before anything runs (what then happens is decided by the machine too, so a run is
//! not repeated exactly by its seed, only its plan is).
//!
//! Leaves to others: the rules (`annulus-checker`), finer and repeatable faults (the simulation).

#![forbid(unsafe_code)]

mod admin;
pub mod beside;
pub mod chance;
mod clock;
mod command;
mod conductor;
mod convergence;
mod copies;
mod count;
mod damage;
mod disk;
pub mod fault;
mod filling;
mod founding;
pub mod isolation;
pub mod judge;
mod network;
mod node_process;
pub mod outage;
pub mod plan;
mod rebuild;
mod recording;
mod reshape;
mod ring;
pub mod run;
mod site;
pub mod throttle;
mod values;
mod wall_clock;
mod workload;

pub use site::Engine;
