//! What a caller may choose: once per client, and per request.

use std::time::Duration;

use annulus_proto::model::{Consistency, KeyspaceName, TimeToLive};

use crate::context::Context;
use crate::retry::RetryPolicy;

/// Where requests are sent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Routing {
    /// Straight to an owner of the key, as the placement says; other nodes when owners fail.
    #[default]
    Owner,
    /// To the given endpoints only; whichever node answers coordinates. Right for a single request,
    /// and where only the endpoints are reachable (a forwarded port).
    Endpoint,
}

/// Chosen once per client.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Where requests are sent first.
    pub routing: Routing,
    /// The whole time of a request, over all of its attempts. Default 5 s.
    pub timeout: Duration,
    /// The longest time of one attempt. Default 2 s.
    pub attempt_timeout: Duration,
    /// The longest time for setting up a connection. Default 1 s.
    pub connect_timeout: Duration,
    /// Connections kept to each node; requests share them. Default 1, at most 64.
    pub connections_per_node: usize,
    /// When and how often a failed attempt is repeated.
    pub retry: RetryPolicy,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            routing: Routing::Owner,
            timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(1),
            connections_per_node: 1,
            retry: RetryPolicy::default(),
        }
    }
}

/// Chosen per read.
#[derive(Debug, Clone)]
pub struct GetOptions {
    /// Keyspace; `kv` by default.
    pub keyspace: KeyspaceName,
    /// Replicas that must answer; the keyspace's default by default.
    pub consistency: Option<Consistency>,
    /// The whole time of the request; the client's by default.
    pub timeout: Option<Duration>,
    /// The answer will have seen at least as much as this context.
    pub min_context: Option<Context>,
}

/// Chosen per write.
#[derive(Debug, Clone)]
pub struct PutOptions {
    /// Keyspace; `kv` by default.
    pub keyspace: KeyspaceName,
    /// Replicas that must hold the write; the keyspace's default by default.
    pub consistency: Option<Consistency>,
    /// The whole time of the request; the client's by default.
    pub timeout: Option<Duration>,
    /// How long the value lives; the keyspace's default by default.
    pub ttl: Option<TimeToLive>,
    /// What the caller has seen and now replaces. None: a blind write.
    pub context: Option<Context>,
    /// Other nodes may stand in for owners that are away, where the keyspace allows it; not by default.
    pub sloppy: bool,
}

/// Chosen per delete.
#[derive(Debug, Clone)]
pub struct DeleteOptions {
    /// Keyspace; `kv` by default.
    pub keyspace: KeyspaceName,
    /// Used by the read that a delete without context makes first.
    pub read_consistency: Option<Consistency>,
    /// Replicas that must hold the delete; the keyspace's default by default.
    pub write_consistency: Option<Consistency>,
    /// The whole time of the request; the client's by default.
    pub timeout: Option<Duration>,
    /// What the caller has seen and now deletes. None: what a read now shows.
    pub context: Option<Context>,
    /// As in [`PutOptions`].
    pub sloppy: bool,
}

impl GetOptions {
    /// All defaults, in this keyspace.
    pub fn of(keyspace: KeyspaceName) -> Self {
        Self {
            keyspace,
            consistency: None,
            timeout: None,
            min_context: None,
        }
    }
}

impl PutOptions {
    /// All defaults, in this keyspace.
    pub fn of(keyspace: KeyspaceName) -> Self {
        Self {
            keyspace,
            consistency: None,
            timeout: None,
            ttl: None,
            context: None,
            sloppy: false,
        }
    }
}

impl DeleteOptions {
    /// All defaults, in this keyspace.
    pub fn of(keyspace: KeyspaceName) -> Self {
        Self {
            keyspace,
            read_consistency: None,
            write_consistency: None,
            timeout: None,
            context: None,
            sloppy: false,
        }
    }
}

impl Default for GetOptions {
    fn default() -> Self {
        Self::of(KeyspaceName::kv())
    }
}

impl Default for PutOptions {
    fn default() -> Self {
        Self::of(KeyspaceName::kv())
    }
}

impl Default for DeleteOptions {
    fn default() -> Self {
        Self::of(KeyspaceName::kv())
    }
}
