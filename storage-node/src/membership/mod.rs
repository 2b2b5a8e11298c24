//! Who is there: what this node believes of the others, and why.
//!
//! | module | owns |
//! |---|---|
//! | [`view`] | the belief, as the rest of the node asks for it |
//! | [`facts`] | what a node says of itself |
//!
//! Invariants: the members are the placement's nodes, none more and none less, and a verdict on one
//! changes where requests go, never who owns what; a node of which nothing is known counts as alive.
//!
//! Leaves to others: the placement (`placement`), what is done for a node that is down (`hints`).

#![allow(
    dead_code,
    reason = "the gossip that fills the view comes with its own change"
)]

mod facts;
mod view;

#[allow(unused_imports, reason = "as above")]
pub(crate) use facts::{DiskState, NodeFacts};
pub(crate) use view::{Liveness, MembershipView};
