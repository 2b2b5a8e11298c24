//! Versions of a key: who wrote what, what has seen what, and how two copies merge.
//!
//! | module | owns |
//! |---|---|
//! | [`dot`] | names of single write events and of their actors |
//! | [`version_vector`] | summaries of events, and their partial order |
//! | [`hlc`] | hybrid logical clock stamps |
//! | [`sibling`] | one written value or tombstone |
//! | [`key_state`] | everything a replica knows of a key; the merge |
//! | [`recent_requests`] | answers to retried requests |
//! | [`minting`] | which vnode may name a new event, and under which name |
//! | [`context`] | what a client gives back with a write, protected against forgery |
//! | [`codec`] | the bytes of a key's state on disk and between nodes |
//!
//! The crate is pure: no clock, no randomness, no I/O. Times are arguments, random ids are made by the caller.
//!
//! Invariants that the rest of the system leans on:
//! - a dot names at most one value for ever (rules V1 to V5, [`minting`]);
//! - merging is idempotent, commutative and associative ([`KeyState::sync`]);
//! - a write has a larger stamp than anything its context covers (I5, [`KeyState::reduce_lww`]);
//! - a digest depends on the clock and the dots only, never on values or expiry ([`KeyState::digest`]).

#![forbid(unsafe_code)]
// The order of a hash map is not repeated by a simulation's seed.
#![warn(clippy::iter_over_hash_type)]

pub mod codec;
pub mod context;
pub mod dot;
pub mod hlc;
pub mod key_state;
pub mod minting;
pub mod recent_requests;
pub mod sibling;
pub mod version_vector;
mod vnode_clock;
mod wire;

pub use codec::CodecError;
pub use context::{Context, ContextError, ContextKey, MAX_CONTEXT_ACTORS};
pub use dot::{Actor, Counter, Dot, KeyEpoch, ParseActorError, VnodeId};
pub use hlc::{HlcClock, HlcError, HlcStamp, MAX_SKEW_MS};
pub use key_state::KeyState;
pub use minting::{
    ConflictPolicy, KEY_BYTES_MAX, MintError, Minted, NewWrite, Received, SIBLINGS_MAX,
    SIBLINGS_WARN,
};
pub use recent_requests::{RECENT_REQUESTS_MAX, RECENT_REQUESTS_WINDOW_MS, RecentRequest};
pub use sibling::{Content, RequestId, Sibling};
pub use version_vector::VersionVector;
#[cfg(feature = "ablation")]
pub use vnode_clock::Rule;
pub use vnode_clock::{EPOCH_LEASE, EpochError, VnodeClock, VnodeRecord};
