//! The replica under test, over an engine that can be held up, damaged and made to fail.

mod committing;
mod damage;
mod engine;
mod fencing;
mod fixture;
#[path = "../../../tests/one_node/mod.rs"]
mod one_node;
mod rebuilding;
mod reclaiming;
mod restarting;
mod trees;
mod versions;
