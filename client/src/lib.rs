//! Client library of Annulus: finds a key's owners, retries what is safe, keeps sessions, merges
//! siblings.
//!
//! Owns: the routing of a request ([`Routing`]), its attempts, deadline and retry budget
//! ([`RetryPolicy`]), the pool of connections, the ids that make a write's retries safe, and
//! [`Session`]s (read your writes, monotonic reads).
//!
//! Invariants: every attempt of one write carries the same request id, so it takes effect once at
//! most; an error says `rejected` only if no attempt can have taken effect.
//!
//! Leaves to others: placement (`annulus-ring`), the wire (`annulus-proto`), quorums (the nodes).
//!
//! ```no_run
//! use annulus_client::{Client, ClientOptions, GetOptions, Key, PutOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(["127.0.0.1:9600"], ClientOptions::default()).await?;
//! let key = Key::new("greeting")?;
//! client.put(&key, "hello", &PutOptions::default()).await?;
//! let reading = client.get(&key, &GetOptions::default()).await?;
//! assert_eq!(&reading.values[0].value[..], b"hello");
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod answer;
mod attempts;
mod budget;
mod client;
mod clock;
mod context;
mod error;
#[cfg(test)]
mod fixtures;
mod operation;
mod options;
mod pool;
mod retry;
mod ring_view;
mod route;
mod session;
mod update;

pub use annulus_proto::model::{
    Consistency, ErrorCode, FieldRefused, Key, KeyspaceName, Outcome, TimeToLive,
};

pub use answer::{Reading, Removal, Sibling, Writing};
pub use client::Client;
pub use context::Context;
pub use error::ClientError;
pub use options::{ClientOptions, DeleteOptions, GetOptions, PutOptions, Routing};
pub use retry::RetryPolicy;
pub use session::{SESSION_MAX_KEYS, Session};
pub use update::{UPDATE_MAX_ROUNDS, UpdateOptions};
