//! What a simulation's invariants look at while it runs.

use annulus_causality::KeyState;
use annulus_ring::{NodeId, RingEpoch};

/// A node writes a key's record.
#[derive(Debug)]
pub struct Wrote<'a> {
    /// The node.
    pub node: NodeId,
    /// The key as it is stored; its first two bytes are the partition.
    pub stored_key: &'a [u8],
    /// What the node had before.
    pub before: Option<&'a KeyState>,
    /// What it has now.
    pub after: &'a KeyState,
}

/// A node answers another one's read, digest or merge, and does not refuse it.
#[derive(Debug)]
pub struct Served {
    /// Who answers.
    pub node: NodeId,
    /// The epoch under which it was asked.
    pub asked_under: RingEpoch,
    /// The epoch that it holds when it answers.
    pub held: Option<RingEpoch>,
}

/// Is told of what happens inside, in order, on the simulation's thread.
pub trait Observer: Send + Sync + 'static {
    /// See [`Wrote`].
    fn wrote(&self, wrote: &Wrote<'_>);

    /// See [`Served`].
    fn served(&self, served: &Served);
}

/// Looks at nothing.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn wrote(&self, _: &Wrote<'_>) {}

    fn served(&self, _: &Served) {}
}
