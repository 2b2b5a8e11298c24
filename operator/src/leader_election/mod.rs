//! One working operator at a time, by a Lease.
//!
//! [`lease`] decides, purely; [`elector`] talks to the API server. The lease is a courtesy, not
//! a fence: what must happen only once (founding) is guarded by the API server itself.

mod elector;
mod lease;

pub(crate) use elector::Elector;
