//! What a simulation's invariants look at while it runs.

use std::sync::Arc;

use annulus_causality::KeyState;
use annulus_ring::{MoveId, NodeId, PartitionId, RingEpoch};
use bytes::Bytes;

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

/// A node removes a key's record.
#[derive(Debug)]
pub struct Removed<'a> {
    /// The node.
    pub node: NodeId,
    /// The key as it is stored; its first two bytes are the partition.
    pub stored_key: &'a [u8],
    /// What the node has.
    pub before: &'a KeyState,
}

/// A node deletes its copy of a partition.
#[derive(Debug)]
pub struct Erased {
    /// The node.
    pub node: NodeId,
    /// The partition.
    pub partition: PartitionId,
    /// The move that the copy was made for.
    pub joined: Option<MoveId>,
    /// The keys as they are stored, and what the node has of each; none whose record is damaged.
    pub had: Vec<(Bytes, Arc<KeyState>)>,
}

/// A node answers another one's read, digest, merge or write, and does not refuse it.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is looked at by a rule of its own"
)]
pub struct Served {
    /// Who answers.
    pub node: NodeId,
    /// The epoch under which it was asked.
    pub asked_under: RingEpoch,
    /// The epoch that it holds when it answers.
    pub held: Option<RingEpoch>,
    /// Whether the placement that it holds when it answers has the partition as that epoch had it.
    pub is_admitted: bool,
    /// Whether everything that it was sent under older placements is in what it answers.
    pub is_settled: bool,
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
    /// A page of a copy.
    Page,
}

/// A node has taken a hint that another one kept for it.
#[derive(Debug)]
pub struct HintTaken {
    /// Who took it.
    pub node: NodeId,
    /// Its age then, by that node's own wall clock, in milliseconds.
    pub age_ms: u64,
}

/// A node removes a hint from its disk.
#[derive(Debug)]
pub struct HintRemoved<'a> {
    /// The node.
    pub node: NodeId,
    /// For whom it was kept.
    pub target: NodeId,
    /// The key as its owners store it.
    pub stored_key: &'a [u8],
    /// When what it is about was written, by its stamp, in milliseconds.
    pub written_ms: u64,
    /// It was counted for an acknowledgement.
    pub sloppy: bool,
    /// What was kept.
    pub state: &'a KeyState,
}

/// Is told of what happens inside, in order, on the simulation's thread.
pub trait Observer: Send + Sync + 'static {
    /// See [`Wrote`].
    fn wrote(&self, wrote: &Wrote<'_>);

    /// See [`Removed`].
    fn removed(&self, removed: &Removed<'_>);

    /// See [`Erased`].
    fn erased(&self, _: &Erased) {}

    /// See [`Served`].
    fn served(&self, served: &Served);

    /// See [`HintTaken`].
    fn hint_taken(&self, _: &HintTaken) {}

    /// See [`HintRemoved`].
    fn hint_removed(&self, _: &HintRemoved<'_>) {}
}

/// Looks at nothing.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn wrote(&self, _: &Wrote<'_>) {}

    fn removed(&self, _: &Removed<'_>) {}

    fn served(&self, _: &Served) {}
}
