//! The hash tree of a vnode: its shape, and what keys add to it. Pure.
//!
//! | module | owns |
//! |---|---|
//! | [`shape`] | blocks and leaves, and where they and their keys lie on disk |
//! | [`changes`] | what a key adds, and what writes change |
//! | [`summary`] | a key without its values; which way its state has to go |
//!
//! Root, 64 blocks, 4,096 blocks, 262,144 leaves. A leaf is the slice of a partition's tokens with the
//! same 18 bits after those that name the partition, so its keys lie next to each other on disk. The
//! sum of a leaf is that of its keys, the sum of a block is that of its slots.
//!
//! - The hash of a key covers its place, its clock and its dots: no values, no expiry (invariant I20),
//!   no remembered requests. The place holds a token, which is keyed by the cluster's secret: nobody
//!   outside can choose keys that cancel each other out.
//! - The blocks of levels 1 and 2 are in the engine, changed in the same batch as the data; the root block is
//!   in memory (`replica`), as the XOR of level 1.
//!
//! Only slots that hold something are stored, so one shape serves small partitions too: a key costs two
//! slots, whatever the size of the tree.
//!
//! Leaves to others: the form of a block on disk (`storage`), when a tree is written (`replica`) and compared
//! (`antientropy`).

mod changes;
mod shape;
mod summary;

#[cfg(test)]
mod tests;

pub(crate) use changes::root_of;
pub use changes::{Changes, sum_of};
pub use shape::{Block, Child, LEAVES, Leaf};
pub(crate) use shape::{level_one_range, tree_range};
pub use summary::{KeySummary, LeafKeys, Way};
