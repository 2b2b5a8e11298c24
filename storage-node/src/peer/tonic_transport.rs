//! The transport over gRPC: a link to every other node of the placement.

use std::collections::BTreeMap;
use std::sync::Arc;

use annulus_proto::peer::v1::reply;
use annulus_ring::NodeId;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::link::Link;
use super::outbox::Outbox;
use super::transport::{Call, PeerCallError, Reachability, Transport};
use crate::clock::Clock;
use crate::entropy::Randomness;
use crate::net::Network;
use crate::placement::PlacementStore;

/// Links to all other nodes. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct TonicTransport(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    network: Network,
    placement: PlacementStore,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    links: Mutex<BTreeMap<NodeId, Handle>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Debug)]
struct Handle {
    outbox: Arc<Outbox>,
    stop: CancellationToken,
}

impl TonicTransport {
    /// Begins to connect to all nodes of the placement, and follows it from then on.
    pub(crate) fn start(
        network: Network,
        placement: PlacementStore,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let links = Mutex::default();
        let inner = Inner {
            network,
            placement,
            clock,
            randomness,
            links,
            tasks,
            shutdown,
        };
        let transport = Self(Arc::new(inner));
        let follower = transport.clone();
        transport
            .0
            .tasks
            .spawn(async move { follower.follow_placement().await });
        transport
    }

    /// Each other node of the placement and whether a stream to it stands.
    pub(crate) fn peers(&self) -> Vec<(NodeId, bool)> {
        let connected =
            |handle: &Handle| handle.outbox.reachability().get() == Reachability::Connected;
        let links = self.0.links.lock();
        let peers = links.iter().map(|(peer, link)| (*peer, connected(link)));
        peers.collect()
    }

    async fn follow_placement(&self) {
        loop {
            let seen = self.0.placement.epoch();
            self.match_placement();
            tokio::select! {
                biased;
                () = self.0.shutdown.cancelled() => return,
                () = self.0.placement.epoch_after(seen) => {}
            }
        }
    }

    /// A link for each other node, none for nodes that left.
    fn match_placement(&self) {
        let Some(placement) = self.0.placement.current() else {
            return;
        };
        let mut links = self.0.links.lock();
        links.retain(|peer, link| {
            let stays = placement.index_of(*peer).is_some();
            if !stays {
                link.stop.cancel();
            }
            stays
        });
        for node in placement.nodes() {
            if node.id != self.0.placement.node() && !links.contains_key(&node.id) {
                links.insert(node.id, self.open_link(node.id));
            }
        }
    }

    fn open_link(&self, peer: NodeId) -> Handle {
        let outbox = Arc::new(Outbox::new(peer));
        let stop = self.0.shutdown.child_token();
        let link = Link {
            peer,
            outbox: outbox.clone(),
            network: self.0.network.clone(),
            placement: self.0.placement.clone(),
            clock: self.0.clock.clone(),
            randomness: self.0.randomness.clone(),
        };
        self.0.tasks.spawn(link.run(stop.clone()));
        Handle { outbox, stop }
    }

    /// The way to a node; opened at once when the placement that names it is newer than the links.
    fn outbox(&self, node: NodeId) -> Option<Arc<Outbox>> {
        let find = || {
            self.0
                .links
                .lock()
                .get(&node)
                .map(|link| link.outbox.clone())
        };
        find().or_else(|| {
            self.match_placement();
            find()
        })
    }
}

impl Transport for TonicTransport {
    fn call(
        &self,
        to: NodeId,
        call: Call,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<reply::Body, PeerCallError>> {
        let ticket = match self.outbox(to) {
            Some(outbox) => outbox
                .enqueue(call, deadline)
                .map(|ticket| (outbox, ticket)),
            None => Err(PeerCallError::NotSent {
                node: to,
                why: "it is not in the placement",
            }),
        };
        Box::pin(async move {
            let (outbox, mut ticket) = ticket?;
            let mut waiting = Waiting {
                outbox: &outbox,
                id: Some(ticket.id),
            };
            let answered = timeout_at(deadline, &mut ticket.answer).await;
            waiting.id = None;
            if let Ok(answered) = answered {
                let dropped = PeerCallError::Lost {
                    node: to,
                    why: "its link ended",
                };
                answered.unwrap_or(Err(dropped))
            } else {
                Err(outbox.give_up(ticket.id, "the deadline passed"))
            }
        })
    }

    fn reachability(&self, node: NodeId) -> Reachability {
        match self.outbox(node) {
            Some(outbox) => outbox.reachability().get(),
            None => Reachability::Unreachable,
        }
    }

    fn reach(&self, node: NodeId, deadline: Instant) -> BoxFuture<'static, bool> {
        let outbox = self.outbox(node);
        Box::pin(async move {
            let Some(outbox) = outbox else {
                return false;
            };
            let reachability = outbox.reachability();
            let settled = reachability.wait_for(|now| now != Reachability::Connecting);
            timeout_at(deadline, settled).await == Ok(Reachability::Connected)
        })
    }
}

/// Frees the place of a call whose caller went away.
struct Waiting<'a> {
    outbox: &'a Outbox,
    id: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.outbox.give_up(id, "the caller went away");
        }
    }
}
