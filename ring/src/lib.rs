//! Placement: which nodes own which keys.
//!
//! A key hashes to a [`Token`]; the token's top bits name one of the fixed partitions
//! ([`PartitionCount`]); a [`Placement`] lists each partition's N owners at one
//! [`RingEpoch`]. [`found`] makes a cluster's first placement, [`plan`] the next one.
//!
//! Everything here is a function of its arguments: no clock, randomness, I/O or async. What
//! a node does with a placement (persist it, fence with it, move data) is left to others.
//!
//! ```
//! use annulus_ring::{
//!     Capacity, HashSeed, Node, NodeAddresses, NodeId, NodeState, PartitionCount,
//!     ReplicationFactor, Zone, found,
//! };
//! use uuid::Uuid;
//!
//! let nodes: Vec<Node> = (0..4)
//!     .map(|n| Node {
//!         id: NodeId(Uuid::from_u128(n)),
//!         name: format!("node-{n}"),
//!         addresses: NodeAddresses {
//!             peer: format!("node-{n}:7400"),
//!             grpc: format!("node-{n}:7401"),
//!             http: format!("node-{n}:7402"),
//!             admin: format!("node-{n}:7403"),
//!         },
//!         zone: Zone::from("a"),
//!         capacity: Capacity::ONE,
//!         state: NodeState::Active,
//!     })
//!     .collect();
//! let placement = found(
//!     Uuid::from_u128(9),
//!     HashSeed(7),
//!     PartitionCount::new(64)?,
//!     ReplicationFactor::new(3)?,
//!     &nodes,
//! )?;
//!
//! let (partition, owners) = placement.locate("default", b"user:1");
//! assert_eq!(owners.len(), 3);
//! assert_eq!(placement.owners(partition), owners);
//! for node in placement.node_indexes() {
//!     assert_eq!(placement.partitions_of(node).count(), 64 * 3 / 4);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
// The order of a hash map is not repeated by a simulation's seed.
#![warn(clippy::iter_over_hash_type)]

mod claim;
mod document;
mod epoch;
mod fingerprint;
mod layout;
mod moves;
mod node;
mod partition;
mod placement;
mod preference_list;
mod quorum_safety;
mod reassignment;
mod share;
mod token;
mod transfer_plan;

pub use document::PlacementDocument;
pub use epoch::RingEpoch;
pub use moves::{
    Advance, ApplyError, Batch, Change, Desired, Estimate, Evidence, InvalidMoveId, InvalidStage,
    Move, MoveError, MoveId, MoveLimits, MoveReport, NodeLoad, NodeReport, OwnerSet, PlannedMove,
    Round, RoundError, Rules, Stage, Standing, Streamed, SyncSources, Wait, WaitReason, WriteSets,
    advance, estimate, next_batch, outline, round,
};
pub use node::{Capacity, Node, NodeAddresses, NodeId, NodeIndex, NodeState, Zone};
pub use partition::{
    InvalidPartitionCount, InvalidReplicationFactor, PartitionCount, PartitionId, ReplicationFactor,
};
pub use placement::{MAX_MOVES, MAX_NODES, Placement, PlacementError};
pub use preference_list::Fallbacks;
pub use quorum_safety::partitions_below;
pub use token::{HashSeed, Token};
pub use transfer_plan::{PlanError, Transfer, TransferPlan, found, plan};
