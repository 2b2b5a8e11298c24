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

/// A node answers another one's read, digest, merge or write, and does not refuse it.
#[derive(Debug)]
pub struct Served {
    /// Who answers.
    pub node: NodeId,
    /// The epoch under which it was asked.
    pub asked_under: RingEpoch,
    /// The epoch that it holds when it answers.
    pub held: Option<RingEpoch>,
    /// What it answers.
    pub answer: Answered,
    /// The key's record was damaged when the request came, and is.
    pub is_damaged: bool,
    /// A sync had failed in the node's run when the request came.
    pub log_had_failed: bool,
}

/// What a node says to another one that did not refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// A state or its digest.
    Present,
    /// That there is no record of the key.
    Absent,
    /// That a state was merged and is on disk.
    Merged,
    /// That a write was minted and is on as many disks as asked for.
    Written,
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
