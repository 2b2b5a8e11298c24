//! Annulus storage-node.
#![forbid(unsafe_code)]

pub mod clock;
pub mod entropy;
pub mod keyspace;
pub mod storage;
