//! The Annulus operator: KVCluster → pods, claims, services, and a founded ring.
//!
//! Owns the custom resources ([`crd`]), the reconcile loop, and the writing of the placement.
//! The operator is the only writer of the placement; with it or the API server down, reads and
//! writes go on. What a placement means is left to `annulus-ring`, what nodes do to
//! `annulus-node`: the operator sees them through their admin gRPC only.
//!
//! Invariants: it keeps no state but what is in the API and in the nodes; a ring is founded at
//! most once; nothing that it does by itself deletes data.
#![forbid(unsafe_code)]

mod args;
mod clock;
mod cluster_controller;
mod context;
pub mod crd;
mod entropy;
#[cfg(test)]
mod fake_api;
#[cfg(test)]
mod fixtures;
mod generated;
mod http;
mod leader_election;
mod membership;
mod metrics;
pub mod names;
mod node_client;
mod run;
mod status;
mod telemetry;
mod watches;

pub use args::{Args, Command, LogFormat, RunArgs};
pub use generated::generated_files;
pub use run::run;
