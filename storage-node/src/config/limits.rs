//! What bounds the node's edges. Every bound has its unit in its name or is a duration.

use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, fields};

/// Bounds of the node's edges.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections to each listener; one more is answered `overloaded` (HTTP) or closed (gRPC).
    /// Default 12,000.
    pub max_connections: usize,
    /// Client requests that are worked on at once, over both edges; one more is answered
    /// `overloaded`. Default 4,096.
    pub max_concurrent_requests: usize,
    /// The number above goes down to this, at the lowest, while requests take much longer than usual.
    /// Default 256.
    pub min_concurrent_requests: usize,
    /// Bytes of request bodies in memory at once, over both edges; more are answered `overloaded`, and
    /// batch streams are not read further. Default 256 MiB.
    pub max_request_bytes: usize,
    /// Requests of one batch stream that are worked on at once; the stream is read no further
    /// until one is answered. Default 256.
    pub max_batch_requests_in_flight: usize,
    /// HTTP/2 streams (gRPC calls) of one connection at once. Default 1,024.
    pub max_streams_per_connection: u32,
    /// How long a request may take where the client doesn't say. Default 2s.
    #[serde(deserialize_with = "fields::duration")]
    pub default_request_timeout: Duration,
    /// The longest time that a client may give a request; a longer one counts as this. Deletes
    /// are reclaimed on the assumption that no request lives longer than 30 s. Default 30s.
    #[serde(deserialize_with = "fields::duration")]
    pub max_request_timeout: Duration,
    /// How long a request's body may take to arrive, where the client gave no shorter timeout.
    /// Default 10s.
    #[serde(deserialize_with = "fields::duration")]
    pub body_read_timeout: Duration,
    /// How long a connection may take to send a request's head, and may lie idle. Default 60s.
    #[serde(deserialize_with = "fields::duration")]
    pub header_read_timeout: Duration,
    /// The advice that `overloaded` gives: wait this long. Default 1s.
    #[serde(deserialize_with = "fields::duration")]
    pub overload_retry_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 12_000,
            max_concurrent_requests: 4_096,
            min_concurrent_requests: 256,
            max_request_bytes: 256 << 20,
            max_batch_requests_in_flight: 256,
            max_streams_per_connection: 1_024,
            default_request_timeout: Duration::from_secs(2),
            max_request_timeout: Duration::from_secs(30),
            body_read_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(60),
            overload_retry_after: Duration::from_secs(1),
        }
    }
}

/// The largest request must fit: twice the largest value that a keyspace may allow, and what is beside it.
const LEAST_REQUEST_BYTES: usize = 64 << 20;

/// The longest deadline that the reclaiming of deletes allows for.
pub(super) const LONGEST_DEADLINE: Duration = Duration::from_secs(30);

impl Limits {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        for (path, count) in [
            ("limits.max_connections", self.max_connections),
            (
                "limits.max_concurrent_requests",
                self.max_concurrent_requests,
            ),
            (
                "limits.min_concurrent_requests",
                self.min_concurrent_requests,
            ),
            (
                "limits.max_batch_requests_in_flight",
                self.max_batch_requests_in_flight,
            ),
            (
                "limits.max_streams_per_connection",
                self.max_streams_per_connection as usize,
            ),
        ] {
            if !(1..=1_000_000).contains(&count) {
                return Err(ConfigError::field(path, "must be 1 to 1,000,000"));
            }
        }
        if !(LEAST_REQUEST_BYTES..=u32::MAX as usize).contains(&self.max_request_bytes) {
            return Err(ConfigError::field(
                "limits.max_request_bytes",
                "must be 64 MiB to 4 GiB",
            ));
        }
        for (path, duration) in [
            (
                "limits.default_request_timeout",
                self.default_request_timeout,
            ),
            ("limits.max_request_timeout", self.max_request_timeout),
            ("limits.body_read_timeout", self.body_read_timeout),
            ("limits.header_read_timeout", self.header_read_timeout),
        ] {
            if duration.is_zero() {
                return Err(ConfigError::field(path, "must be longer than nothing"));
            }
        }
        if self.max_request_timeout > LONGEST_DEADLINE {
            return Err(ConfigError::field(
                "limits.max_request_timeout",
                "must be 30s at most",
            ));
        }
        if self.default_request_timeout > self.max_request_timeout {
            return Err(ConfigError::field(
                "limits.default_request_timeout",
                "must not be longer than limits.max_request_timeout",
            ));
        }
        Ok(())
    }
}
