//! What survives a crash, a torn log and damaged files: real processes, real files, RocksDB.

mod child;
mod damaged_files;
mod files;
mod killed;
mod node;
mod torn_log;
