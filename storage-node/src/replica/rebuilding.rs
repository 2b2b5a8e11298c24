//! What a vnode without its data still lacks before it may answer. Pure; kept on disk as it is.
//!
//! A copy is whole again when it has every state that N-W+1 other owners held, W a majority of the N: any
//! W owners that acknowledged a write include one of those, or this vnode itself, which keeps what it is
//! sent while it is being filled.
//!
//! Invariants: an owner counts as read only if it was read from its first key to its last as one and the same
//! vnode; an owner that is being rebuilt itself proves nothing.

use std::collections::BTreeMap;

use annulus_causality::VnodeId;
use annulus_ring::NodeId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::mistake::{self, Mistake};

/// Why a vnode has to be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The node became an owner: the vnode never held anything, so nothing of it is lost.
    New,
    /// A move makes the node an owner: the same, but the move's sources have to prove what they hold.
    Joining,
    /// The database is gone, with all that the vnode held.
    Lost,
    /// The vnode met damage and gave up its data.
    Damaged,
}

impl Origin {
    /// Its name in status and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Joining => "joining",
            Self::Lost => "lost",
            Self::Damaged => "damaged",
        }
    }
}

/// How far a vnode has been filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuilding {
    /// Why.
    pub origin: Origin,
    /// Since when, by this node's wall clock, in milliseconds since 1970.
    pub since_ms: u64,
    /// What was taken from whom.
    pub sources: BTreeMap<NodeId, Source>,
}

/// How far one owner was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The owner's vnode: another one is another memory.
    vnode: u64,
    /// Whether that vnode has all that it ever acknowledged; otherwise it is new and never had more.
    serving: bool,
    /// The last key that was taken, as the engine knows it.
    after: Option<Vec<u8>>,
    /// It was read to its end.
    pub done: bool,
    /// Keys taken.
    pub keys: u64,
    /// Bytes of states taken.
    pub bytes: u64,
}

/// What one answer of an owner says beside its states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The owner's vnode.
    pub vnode: VnodeId,
    /// Whether it serves; otherwise it is new.
    pub serving: bool,
    /// The last key of the page; `None`: there were no more keys.
    pub last: Option<Bytes>,
    /// Keys of the page.
    pub keys: u64,
    /// Bytes of its states.
    pub bytes: u64,
}

impl Rebuilding {
    /// Nothing was taken yet.
    pub fn begin(origin: Origin, since_ms: u64) -> Self {
        let sources = BTreeMap::new();
        Self {
            origin,
            since_ms,
            sources,
        }
    }

    /// Where to go on reading an owner; `None`: from its first key.
    pub fn position(&self, owner: NodeId) -> Option<Bytes> {
        let after = self.sources.get(&owner)?.after.as_ref()?;
        Some(Bytes::copy_from_slice(after))
    }

    /// Whether an owner was read to its end.
    pub fn is_read(&self, owner: NodeId) -> bool {
        self.sources.get(&owner).is_some_and(|source| source.done)
    }

    /// An answer whose states are merged and on disk, to the question for what comes after
    /// [`Self::position`]. Whether it counted: an answer of another vnode than those before begins anew,
    /// and one of a vnode that proves nothing is not taken.
    pub fn take(&mut self, owner: NodeId, page: &Page) -> bool {
        if !page.serving && self.origin != Origin::New {
            self.sources.remove(&owner);
            return false;
        }
        let source = self.sources.entry(owner).or_default();
        let is_first = source.after.is_none();
        if !is_first && (source.vnode, source.serving) != (page.vnode.0, page.serving) {
            self.sources.remove(&owner);
            return false;
        }
        (source.vnode, source.serving) = (page.vnode.0, page.serving);
        source.keys += page.keys;
        source.bytes += page.bytes;
        match &page.last {
            Some(last) => source.after = Some(last.to_vec()),
            None => source.done = true,
        }
        true
    }

    /// Whether the vnode may serve: it has what it takes of the `others`, the partition's owners beside it.
    ///
    /// One that is new has lost nothing: what all others have is enough as well. So a ring whose nodes begin
    /// together, all of them new, begins to serve.
    pub fn is_complete(&self, others: &[NodeId]) -> bool {
        let read = |owner: &&NodeId| self.is_read(**owner);
        let proven = |owner: &&NodeId| {
            let source = self.sources.get(*owner);
            source.is_some_and(|source| source.done && source.serving)
        };
        let all_read = others.iter().filter(read).count() == others.len();
        others.iter().filter(proven).count() >= owners_needed(others.len())
            || (self.origin == Origin::New && all_read)
    }
}

/// How many of the `others` have to be read: N-W+1.
pub fn owners_needed(others: usize) -> usize {
    if mistake::is_made(Mistake::RebuildFromOne) {
        return 1;
    }
    let owners = others + 1;
    let majority = owners / 2 + 1;
    owners - majority + 1
}

#[cfg(test)]
#[path = "rebuilding_test.rs"]
mod tests;
