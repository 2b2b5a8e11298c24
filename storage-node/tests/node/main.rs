//! The node from outside: real listeners on loopback, real peers, both storage engines.

mod bad_input;
mod batch;
mod cluster;
mod last_writer;
mod limits;
mod process;
mod quorum;
mod siblings;
mod status;
