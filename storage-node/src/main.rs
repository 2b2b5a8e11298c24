//! The storage node.
fn main() {}
