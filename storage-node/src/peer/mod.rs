//! Node to node: asking peers, and answering them.
//!
//! | module | owns |
//! |---|---|
//! | [`transport`] | the trait: one request to one node, and what a failure means |
//! | [`peers`] | what may be asked of a peer, in the node's own types; the epoch rules of the caller |
//! | [`forwarded_write`] | a write on its way to an owner that mints its dot |
//! | [`frame_age`] | how long a frame lay around on its way (pure) |
//! | [`hint_calls`] | what is asked and answered about hints |
//! | [`latency`] | how long peers take (pure) |
//! | [`outbox`] | the requests of one link: queued, in flight, answered |
//! | [`link`] | one peer's stream: connect, greet, carry, connect again |
//! | [`tonic_transport`] | the transport over gRPC: a link to every other node |
//! | [`responder`] | answers one request; the epoch rules of the callee |
//! | [`reclaiming`] | what owners ask of each other to reclaim deleted keys |
//! | [`service`] | the gRPC service: batches in, batches out |
//! | [`wire`], [`tree_wire`] | the node's own types to and from the messages |
//!
//! Invariants: a call that was never written to the stream is told from one that may have arrived;
//! a request is acted on only by the node that it is meant for, in the cluster that it is meant for,
//! under the epoch that it names; every queue is bounded.
//!
//! Leaves to others: which nodes to ask and how many (`coordinator`).

mod forwarded_write;
mod frame_age;
mod hint_calls;
mod latency;
mod link;
mod outbox;
mod peers;
mod reclaiming;
mod responder;
mod service;
mod tonic_transport;
mod transport;
mod tree_wire;
mod wire;

#[cfg(test)]
mod tests;

pub(crate) use forwarded_write::{ForwardedAnswer, ForwardedWrite};
pub(crate) use peers::{PeerFailure, Peers};
pub(crate) use reclaiming::{MAX_TOMBSTONES, NamedTombstone};
pub(crate) use responder::Responder;
pub(crate) use service::{PeerService, WINDOW_BYTES};
pub(crate) use tonic_transport::TonicTransport;
pub(crate) use transport::Reachability;
#[cfg(any(test, feature = "simulation"))]
pub(crate) use transport::{Call, PeerCallError, Transport};
