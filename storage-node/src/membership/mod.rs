//! Who is there: what this node believes of the others, and why.
//!
//! | module | owns |
//! |---|---|
//! | [`view`] | the belief, as the rest of the node asks for it |
//! | [`facts`] | what a node says of itself |
//! | [`gossip`] | one node's side of the protocol (pure) |
//! | [`rumor`] | what is told of a node, and how two tellings become one (pure) |
//! | [`members`], [`spreading`], [`probes`], [`suspicion`], [`local_health`] | its parts (pure) |
//! | [`options`] | what it goes by |
//! | [`driver`] | time, messages, the view |
//! | [`wire`] | rumors to and from messages |
//! | [`metrics`] | figures |
//!
//! Invariants: the members are the placement's nodes, none more and none less, and a verdict on one
//! changes where requests go, never who owns what; a node of which nothing is known counts as alive.
//!
//! Leaves to others: the placement (`placement`), what is done for a node that is down (`hints`). The
//! protocol for people: `docs/protocol/membership.md`.

mod driver;
mod facts;
mod gossip;
mod local_health;
mod members;
mod metrics;
mod options;
mod probes;
mod rumor;
mod spreading;
mod suspicion;
mod view;
pub(crate) mod wire;

pub(crate) use driver::{Membership, MembershipParts, OwnState};
pub(crate) use facts::DiskState;
#[cfg(feature = "simulation")]
pub(crate) use facts::NodeFacts;
pub(crate) use gossip::Sighting;
#[cfg(feature = "simulation")]
pub(crate) use gossip::{Action, Gossip, Notice, ProbeId};
pub(crate) use metrics::MembershipMetrics;
pub(crate) use options::GossipOptions;
#[cfg(feature = "simulation")]
pub(crate) use rumor::Rumor;
pub(crate) use view::{Liveness, MembershipView};
