//! How many moves run at once.

/// The bounds on moves at once. They count moves from PREPARE to READ_NEW, those that copy, are
/// about to, or may have to go back to it; how many of them a node streams at the same time, and how fast, is the node's own
/// bound. More of them in DUAL cost little (one more copy of a write) and save epochs: each stage
/// change of all of them together is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveLimits {
    /// Into one node, and out of one node.
    pub per_node: usize,
    /// In the whole cluster.
    pub overall: usize,
}

impl Default for MoveLimits {
    fn default() -> Self {
        Self {
            per_node: 32,
            overall: 512,
        }
    }
}
