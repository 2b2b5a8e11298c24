//! For each rule: histories that break it are found, and those that nearly do are not.

mod causality;
mod convergence;
mod epochs_and_moves;
mod freshness;
mod last_writer_wins;
mod lost_update;
mod phantom;
mod recording;
mod resurrection;
mod scenario;
mod unsynced;
