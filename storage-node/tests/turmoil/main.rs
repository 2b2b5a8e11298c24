//! Whole nodes as in production - gRPC to clients, gRPC between nodes, admin port - over a simulated
//! TCP (turmoil), with simulated disks and clocks, in one thread from one seed. Slower than
//! `tests/simulation`, and closer to what runs: connections that break, hang and come back are real
//! here. See `docs/simulation.md`.
//!
//! | file | owns |
//! |---|---|
//! | [`plan`] | what a seed is about |
//! | [`wire`] | the nodes' connections over turmoil |
//! | [`machine`] | one node's machine: its runs, its disk |
//! | [`world`] | all machines, and time |
//! | [`operator`] | a model of the operator: hands over placements |
//! | [`clients`], [`calls`] | the clients; their gRPC |
//! | [`faults`] | the timetable of faults |
//! | [`convergence`] | what has to come back after them |
//! | [`panics`] | what would end a real process |
//! | [`run`] | one simulation from its plan to its verdict |
//! | [`seeds`], [`scenarios`], [`mistakes`] | the tests |
//!
//! What clients ask for, how it is recorded and judged, and the invariants are those of
//! `tests/simulation`, from the same files.

#![warn(clippy::iter_over_hash_type)]

#[path = "../simulation/asking.rs"]
mod asking;
#[path = "../simulation/broken.rs"]
mod broken;
mod calls;
mod clients;
mod convergence;
#[path = "../simulation/copies.rs"]
mod copies;
mod faults;
#[path = "../simulation/invariants/mod.rs"]
mod invariants;
#[path = "../simulation/judgement.rs"]
mod judgement;
mod machine;
mod mistakes;
mod operator;
#[path = "../simulation/outside.rs"]
mod outside;
mod panics;
mod plan;
#[path = "../simulation/recording.rs"]
mod recording;
mod run;
mod scenarios;
mod seeds;
#[path = "../simulation/session.rs"]
mod session;
mod wire;
mod world;
