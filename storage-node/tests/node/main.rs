//! The node from outside: real listeners on loopback, real peers, both storage engines.
#![expect(clippy::disallowed_methods, reason = "tests of real sockets")]
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod anti_entropy;
mod bad_input;
mod batch;
mod cluster;
mod drain;
mod full_disk;
mod gossip;
mod hints;
mod last_writer;
mod limits;
mod mending;
mod process;
mod quorum;
mod reaping;
mod siblings;
mod status;
mod trio;
