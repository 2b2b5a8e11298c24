//! Whole clusters in one process, one thread, from one seed: the real coordinators, replicas and
//! minting rules over simulated disks, clocks and a simulated network.
//!
//! | module | owns |
//! |---|---|
//! | [`chance`] | draws that repeat themselves from a seed |
//! | [`sim_clock`] | wall clocks that may be wrong |
//! | [`disk`] | written, synced, lost, damaged |
//! | [`network`] | late, lost, doubled, cut off |
//! | [`sim_file`] | a node's placement file |
//! | [`sim_node`] | a node's composition, its crashes and restarts |
//! | [`layout`] | who owns what, and what the owners' disks hold |
//! | [`cluster`] | several nodes under one placement |
//! | [`gossip_ring`] | gossip alone, for rings and times that whole nodes would take too long for |
//! | [`reclaiming`] | the ages of deleted keys |
//! | [`observer`] | what invariants look at |
//! | [`timeline`] | the time since a simulation began |
//! | [`trace`] | what happened, for people and as a hash |
//!
//! Invariant: everything runs on one thread, in paused runtimes, and draws from the seed alone; so a
//! seed gives the same events every time.
//!
//! Leaves to others: the workload, the faults' timetable and what is judged (`tests/simulation`); gRPC
//! between nodes and the clients' edges: whole nodes ([`Simulated`]) over a simulated TCP, in
//! `tests/turmoil`. How to use both: `docs/simulation.md`.

pub mod chance;
pub mod cluster;
pub mod disk;
pub mod gossip_ring;
pub mod layout;
pub mod network;
pub mod observer;
pub mod reclaiming;
pub mod sim_clock;
pub mod sim_file;
pub mod sim_node;
pub mod timeline;
pub mod trace;

pub use crate::mistake::{Mistake, Seeded, make};
pub use crate::net::{SimulatedAcceptor, SimulatedConnection, SimulatedNetwork};
pub use crate::node::Simulated;
pub use crate::witness::{Listening, late_merges, listen};
pub use chance::Chance;
pub use cluster::SimCluster;
pub use disk::{SimDisk, SimEngine, SyncTakes};
pub use gossip_ring::{GossipRing, RingFigures};
pub use layout::{Layout, UNSYNCED_KEYSPACE, id_of, member, turned};
pub use network::{Network, Way};
pub use observer::{
    Answered, Erased, HintRemoved, HintTaken, Observer, Removed, Served, Unobserved, Wrote,
};
pub use reclaiming::REAP_AGE;
pub use sim_clock::{DRIFTS_BY_AT_MOST_MS, SimClock};
pub use sim_file::SimFile;
pub use sim_node::{Done, Seen, SimNode, Terms};
pub use timeline::Timeline;
pub use trace::Trace;
