//! The storage node of Annulus.
//!
//! | module | owns |
//! |---|---|
//! | [`config`], [`args`] | every setting; the command line |
//! | `node`, [`shutdown`] | the composition root: start, drain; signals |
//! | `server` | the edges: gRPC, HTTP, admin |
//! | `hints` | writes kept for owners that are away, and their delivery |
//! | `overload` | how many requests are let in, how far background work gives way |
//! | `coordinator` | carrying out a request with a quorum of owners |
//! | `disk_pace` | disks that do what they are asked, but slowly |
//! | `membership` | which other nodes are alive, as far as this one knows |
//! | `peer` | asking other nodes, and answering them |
//! | `placement` | which node owns what, epoch by epoch, on this node's disk |
//! | `reaping` | forgetting deleted keys and expired values |
//! | `rebuild` | filling copies that lost their data from the other owners |
//! | [`replica`] | applying versions to local storage |
//! | [`antientropy`] | finding and mending what owners of a partition have different |
//! | [`hash_tree`] | sums over a vnode's keys, by which copies are compared |
//! | [`storage`] | bytes that survive |
//! | [`keyspace`] | rules of groups of keys |
//! | [`telemetry`] | logs and metrics |
//! | [`clock`], [`entropy`], `net` | time, randomness and connections, handed in |
//! | `watched` | values that are waited for |
//! | `simulation`, `mistake`, `witness` | whole clusters in one thread under faults; feature `simulation`, never in a release |
//!
//! A request comes in at an edge of any node, is carried out by that node's coordinator, which
//! asks the replicas of the key's owners, each over its own storage.
#![forbid(unsafe_code)]
// The order of a hash map is not repeated by a simulation's seed.
#![warn(clippy::iter_over_hash_type)]

pub mod antientropy;
pub mod args;
pub mod clock;
pub mod config;
mod coordinator;
mod disk_pace;
pub mod entropy;
pub mod hash_tree;
mod hints;
pub mod keyspace;
mod membership;
mod mistake;
mod moves;
mod net;
mod node;
mod overload;
mod peer;
mod placement;
mod reaping;
mod rebuild;
pub mod replica;
mod server;
pub mod shutdown;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod storage;
pub mod telemetry;
mod watched;
mod witness;

pub use node::{Addresses, Node, StartError, UncleanEnd};
