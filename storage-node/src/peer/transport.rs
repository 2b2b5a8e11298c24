//! The trait: one request to one node.

use std::fmt;

use annulus_proto::peer::v1::{reply, request};
use annulus_ring::{MoveId, NodeId, RingEpoch};
use futures::future::BoxFuture;
use tokio::time::Instant;

/// A request on its way.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The placement epoch under which the caller acts.
    pub(crate) epoch: RingEpoch,
    /// The move that it belongs to.
    pub(crate) session: Option<MoveId>,
    /// What is asked.
    pub(crate) body: request::Body,
}

impl Call {
    /// The session as a request carries it.
    pub(crate) fn session_text(&self) -> String {
        self.session.map_or_else(String::new, |id| id.to_string())
    }
}

/// Why no reply came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerCallError {
    /// The request never left this node: nothing happened.
    #[error("node {node} was not asked: {why}")]
    NotSent {
        /// The node meant.
        node: NodeId,
        /// Why.
        why: &'static str,
    },
    /// The request left this node: it may have been carried out.
    #[error("node {node} did not answer: {why}")]
    Lost {
        /// The node asked.
        node: NodeId,
        /// Why.
        why: &'static str,
    },
}

/// What is known of the way to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reachability {
    /// A stream stands.
    Connected,
    /// A first attempt is on its way; calls wait for it.
    Connecting,
    /// The last attempt failed; calls fail at once until one succeeds.
    Unreachable,
}

/// Carries requests to nodes. Implemented over gRPC, and in memory for tests and simulation.
pub(crate) trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Asks a node. Always ends by the deadline. A dropped call may still be carried out.
    fn call(
        &self,
        to: NodeId,
        call: Call,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<reply::Body, PeerCallError>>;

    /// What is known of the way to a node, without asking.
    fn reachability(&self, node: NodeId) -> Reachability;

    /// Waits while the node is [`Reachability::Connecting`], at most until the deadline. Whether it is
    /// connected then.
    fn reach(&self, node: NodeId, deadline: Instant) -> BoxFuture<'static, bool>;
}
