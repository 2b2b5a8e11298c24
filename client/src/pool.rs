//! Connections to nodes: made at the first use, shared by all requests, bounded in number; and
//! which nodes to leave alone for a while because they could not be reached.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::error::ClientError;
use crate::route::Address;

/// Nodes with open connections; beyond it the one unused for longest is closed.
const MAX_POOLED_NODES: usize = 256;

/// Connections to one node.
const MAX_CONNECTIONS_PER_NODE: usize = 64;

/// How long a node that could not be reached is tried last.
const AVOID_FOR: Duration = Duration::from_secs(2);

/// A silent connection is probed after this time, and closed when the probe is not answered.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// HTTP/2 flow control: bytes that may be on the way to us, per answer and per connection.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// The connections. All methods are quick and never block on the network.
pub(crate) struct Pool {
    connect_timeout: Duration,
    connections_per_node: usize,
    nodes: Mutex<HashMap<Address, Pooled>>,
}

struct Pooled {
    channels: Vec<Channel>,
    turn: usize,
    last_used: Instant,
    avoid_until: Option<Instant>,
}

impl Pool {
    pub(crate) fn new(connect_timeout: Duration, connections_per_node: usize) -> Self {
        Self {
            connect_timeout,
            connections_per_node: connections_per_node.clamp(1, MAX_CONNECTIONS_PER_NODE),
            nodes: Mutex::new(HashMap::new()),
        }
    }

    /// A connection to the node; it is set up by its first request.
    pub(crate) fn channel(&self, address: &Address, now: Instant) -> Result<Channel, ClientError> {
        let mut nodes = self.nodes.lock();
        if !nodes.contains_key(address) {
            make_room(&mut nodes);
            nodes.insert(address.clone(), self.open(address, now)?);
        }
        let node = nodes
            .get_mut(address)
            .expect("inserted above if it was missing");
        node.last_used = now;
        node.turn = (node.turn + 1) % node.channels.len();
        Ok(node.channels[node.turn].clone())
    }

    /// The node could not be reached, or was silent.
    pub(crate) fn avoid(&self, address: &Address, now: Instant) {
        if let Some(node) = self.nodes.lock().get_mut(address) {
            node.avoid_until = Some(now + AVOID_FOR);
        }
    }

    /// The node answered.
    pub(crate) fn welcome(&self, address: &Address) {
        if let Some(node) = self.nodes.lock().get_mut(address) {
            node.avoid_until = None;
        }
    }

    /// Whether the node is to be tried last.
    pub(crate) fn is_avoided(&self, address: &Address, now: Instant) -> bool {
        let nodes = self.nodes.lock();
        nodes
            .get(address)
            .and_then(|node| node.avoid_until)
            .is_some_and(|until| now < until)
    }

    fn open(&self, address: &Address, now: Instant) -> Result<Pooled, ClientError> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| {
                ClientError::invalid(format!(
                    "{address:?} is no address of a node ({error}); give HOST:PORT"
                ))
            })?
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let channels = (0..self.connections_per_node)
            .map(|_| endpoint.connect_lazy())
            .collect();
        Ok(Pooled {
            channels,
            turn: 0,
            last_used: now,
            avoid_until: None,
        })
    }
}

fn make_room(nodes: &mut HashMap<Address, Pooled>) {
    if nodes.len() < MAX_POOLED_NODES {
        return;
    }
    let oldest = nodes
        .iter()
        .min_by_key(|(_, node)| node.last_used)
        .map(|(a, _)| a.clone());
    if let Some(oldest) = oldest {
        nodes.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn pool() -> Pool {
        Pool::new(Duration::from_secs(1), 2)
    }

    #[tokio::test]
    async fn the_number_of_nodes_with_connections_is_bounded() {
        let pool = pool();
        for number in 0..MAX_POOLED_NODES + 10 {
            pool.channel(&format!("host-{number}:1").into(), clock::now())
                .unwrap();
        }
        assert_eq!(pool.nodes.lock().len(), MAX_POOLED_NODES);
    }

    #[tokio::test]
    async fn a_node_is_avoided_until_its_time_is_over_or_it_answers() {
        let (pool, node, now) = (pool(), Address::from("host:1"), clock::now());
        pool.channel(&node, now).unwrap();
        pool.avoid(&node, now);
        assert!(pool.is_avoided(&node, now));
        assert!(!pool.is_avoided(&node, now + AVOID_FOR));
        pool.welcome(&node);
        assert!(!pool.is_avoided(&node, now));
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused() {
        let error = pool()
            .channel(&"not an address".into(), clock::now())
            .unwrap_err();
        assert_eq!(error.code, annulus_proto::model::ErrorCode::InvalidArgument);
    }
}
