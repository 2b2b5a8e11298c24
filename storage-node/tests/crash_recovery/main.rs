//! What survives a crash, a torn log and damaged files: real processes, real files, RocksDB.
#![expect(clippy::unwrap_used, reason = "a test ends where it can't go on")]

mod child;
mod damaged_files;
mod files;
mod killed;
mod lost_database;
mod node;
#[path = "../one_node/mod.rs"]
mod one_node;
mod torn_log;
