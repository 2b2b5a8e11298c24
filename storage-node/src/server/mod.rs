//! The node's edges: client gRPC and HTTP, admin, and the sockets they are served on.
//!
//! | module | owns |
//! |---|---|
//! | [`listener`] | sockets and connections: their number, their silence, their end |
//! | [`client_edge`] | what both client edges share: admission, deadlines, limits, metrics |
//! | [`contexts`] | sealing and verifying contexts |
//! | [`http`] | `/kv/…` and `/v1/data/…` |
//! | [`grpc`] | `KeyValue`, `Ring`, health, reflection |
//! | [`admin`] | the operator's service, metrics, liveness, readiness |
//! | [`headers`] | who answered, under which placement |
//! | [`phase`] | what the node is doing |
//!
//! Invariant: whatever comes in is checked here, once, by the field's name; nothing behind the
//! edges sees an invalid request.
//!
//! Leaves to others: carrying requests out (`coordinator`), the peer port's service (`peer`).

pub(crate) mod admin;
pub(crate) mod client_edge;
pub(crate) mod contexts;
pub(crate) mod grpc;
pub(crate) mod headers;
pub(crate) mod http;
pub(crate) mod listener;
pub(crate) mod phase;
pub(crate) mod request_bytes;
