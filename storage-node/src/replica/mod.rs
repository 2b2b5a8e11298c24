//! The replica: this node's copy of the keys that it owns.
//!
//! | module | owns |
//! |---|---|
//! | [`address`] | where a key lies: keyspace, partition, token, stored form |
//! | [`operation`] | what can be asked, and the answers |
//! | [`handle`] | [`Replica`]: how everybody else asks; start and stop |
//! | [`transition`] | pure: what a write or a merge makes of a key's state |
//! | [`committer`], [`commit_batch`] | one thread writes a partition: group commit and its overlay |
//! | [`aside`] | records beside the data, in the same turn and under the same fsync |
//! | [`tombstones`], [`reclaiming`] | when deleted keys and expired values may go (pure); how they go |
//! | [`workers`] | whether that is a thread, or a task of a simulation |
//! | [`vnode`] | the vnodes: identity, supply of key epochs, the fence |
//! | [`rebuilding`] | pure: what a vnode without its data still lacks |
//! | [`stage`] | a vnode gives up its data, is filled, serves again |
//! | [`released`] | copies that this node holds no more, and their end |
//! | [`record`] | a key's state on disk, under a checksum |
//! | [`stored_tree`] | the vnodes' hash trees on disk |
//! | [`version`] | the number that `lww` keyspaces show as the version |
//! | [`fatal`] | the end of a node that can't trust its disk any more |
//! | [`error`], [`metrics`] | what failed; figures |
//!
//! Invariants:
//! - each key has one writer, its partition's committer thread, which hands every operation the
//!   state that the one before it left, on disk yet or not;
//! - an answer "durable" is given after the fsync that covers it, or, in `async` keyspaces, after
//!   the log has it; after a failed log write nothing is answered any more ([`fatal`]);
//! - an operation is fenced before and after it is applied: the vnode is owned and the operation's
//!   epoch is not below the vnode's;
//! - what cannot be read back intact is an error, never an absent key.
//!
//! Leaves to others: quorums, other nodes (`coordinator`), which node owns what (`placement`).

mod address;
mod aside;
mod commit_batch;
mod committer;
mod error;
mod fatal;
mod handle;
mod metrics;
mod operation;
mod rebuilding;
mod reclaiming;
mod record;
mod released;
mod stage;
mod stored_tree;
pub(crate) mod tombstones;
mod transition;
mod version;
mod vnode;
mod workers;

#[cfg(test)]
mod tests;

pub use address::KeyAddress;
pub(crate) use aside::AsideRecords;
pub use error::ReplicaError;
pub use handle::{Replica, ReplicaOptions};
pub use operation::{
    DigestPage, Durable, Held, KeyDigest, Merge, Merged, Minted, Scrubbed, StatesPage, StoredState,
    Unsound, VnodeStatus, Write,
};
pub use rebuilding::{Origin, Page, Rebuilding, Source, owners_needed};
#[cfg(feature = "simulation")]
pub(crate) use record::decode as decode_record;
#[cfg(feature = "simulation")]
pub(crate) use stage::joined_key;
#[cfg(feature = "simulation")]
pub(crate) use stored_tree::recompute as recompute_tree;
pub use tombstones::{
    Finding, Reclaim, ReclaimStep, Reclaimed, ScanPage, TombstoneFound, TombstoneRule,
    TombstonesFound,
};
pub use version::{version_at, version_of};
