//! Whole clusters in one thread from one seed: real node code under faults, judged while it runs and
//! at its end. How to write a scenario and read a failure: `docs/simulation.md`.
//!
//! | file | owns |
//! |---|---|
//! | [`plan`] | what a seed is about |
//! | [`asking`] | what clients ask for next |
//! | [`workload`], [`session`] | the clients |
//! | [`cold_keys`] | a client of keys that are left alone for a while |
//! | [`faults`], [`losses`] | the timetable of faults; what nodes lose |
//! | [`wishes`] | what people want the ring to be |
//! | [`operator`], [`api_server`] | models of those that make it so |
//! | [`convergence`], [`copies`] | what has to come back after them |
//! | [`recording`], [`judgement`] | the history in the checker's words, and its verdict |
//! | [`invariants`] | what holds at every moment |
//! | [`seeds`], [`many`] | many seeds; one seed; one seed twice |
//! | [`outside`] | environment and real time |
//! | [`shrink`] | a failure with fewer faults |
//! | [`scenarios`] | faults that a seed may not combine |
//! | [`gossip`] | gossip alone, for a day or in large rings |
//! | [`slow_disks`] | that nodes find out which disk is slow |
//! | [`mistakes`] | that mistakes made on purpose are found |

#![warn(clippy::iter_over_hash_type)]

mod api_server;
mod asking;
mod broken;
mod cold_keys;
mod convergence;
mod copies;
mod faults;
mod gossip;
mod invariants;
mod judgement;
mod losses;
mod many;
mod mistakes;
mod operator;
mod outside;
mod plan;
mod recording;
mod run;
mod scenarios;
mod seeds;
mod session;
mod shrink;
mod slow_disks;
mod wishes;
mod workload;
