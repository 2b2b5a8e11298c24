//! Whole clusters in one process, one thread, from one seed: the real coordinators, replicas and
//! minting rules over simulated disks, clocks and a simulated network.
//!
//! | module | owns |
//! |---|---|
//! | [`chance`] | draws that repeat themselves from a seed |
//! | [`sim_clock`] | wall clocks that may be wrong |
//! | [`disk`] | written, synced, lost, damaged |
//! | [`network`] | late, lost, doubled, cut off |
//! | [`sim_node`] | a node's composition, its crashes and restarts |
//! | [`cluster`] | several of them under one placement |
//! | [`observer`] | what invariants look at |
//! | [`trace`] | what happened, for people and as a hash |
//!
//! Invariant: everything runs on the thread of one paused runtime, and draws from the seed alone; so
//! a seed gives the same events every time.
//!
//! Leaves to others: the workload, the faults' timetable and what is judged (`tests/simulation`);
//! gRPC between nodes and the clients' edges, which the tests of processes cover. How to use it:
//! `docs/simulation.md`.

pub mod chance;
pub mod cluster;
pub mod disk;
pub mod network;
pub mod observer;
pub mod sim_clock;
pub mod sim_node;
pub mod trace;

pub use crate::mistake::{Mistake, Seeded, make};
pub use chance::Chance;
pub use cluster::{SimCluster, UNSYNCED_KEYSPACE};
pub use disk::{SimDisk, SimEngine, SyncTakes};
pub use network::{Network, Way};
pub use observer::{Answered, Observer, Served, Unobserved, Wrote};
pub use sim_clock::{DRIFTS_BY_AT_MOST_MS, SimClock};
pub use sim_node::{Done, Seen, SimNode, Terms};
pub use trace::Trace;
