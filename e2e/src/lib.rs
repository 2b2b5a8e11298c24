//! Black-box tests of Annulus on a real Kubernetes: the tools that scenarios share.
//!
//! A scenario (one file in `tests/`) sees what a user sees: objects through the API server, keys
//! through the HTTP port of a node. This crate therefore uses none of our own types to speak to
//! them: if a field changes its name by accident, a scenario fails. What was recorded is judged by
//! the checker that judges simulations too.
//!
//! - [`cluster`]: a Kubernetes to run on (kind, or the network-namespace lab in `lab/`).
//! - [`installation`]: images and chart put into it.
//! - [`namespace`]: a namespace of its own for every scenario, and evidence when it fails.
//! - [`conditions`]: waiting with a deadline for something to become true.
//! - [`kvcluster`]: a `KVCluster` as its user handles it.
//! - [`operator`]: the operator's pods, and their end.
//! - [`recorded`]: load whose answers are written down, for the checker to judge.
//! - [`ring`]: who owns what.
//! - [`scaling`]: a cluster that is asked to change.
//! - [`workload`]: writers and readers that keep account of what was acknowledged.
//!
//! Invariant: nothing here waits by sleeping for a fixed time; every wait names a condition and a
//! deadline. Errors are `anyhow`: nobody but a person reads them.

pub mod artifacts;
pub mod cluster;
pub mod conditions;
pub mod example;
pub mod installation;
pub mod kvcluster;
pub mod namespace;
pub mod operator;
pub mod recorded;
pub mod ring;
pub mod scaling;
pub mod workload;
