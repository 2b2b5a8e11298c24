//! Domain types of requests: what the wire's fields mean, and their limits.

mod consistency;
mod error_code;
mod key;
mod keyspace_name;
mod refused;
mod request_error;
mod time_to_live;

pub use consistency::Consistency;
pub use error_code::{ErrorCode, Outcome};
pub use key::{Key, MAX_KEY_CHARACTERS};
pub use keyspace_name::{KeyspaceName, MAX_KEYSPACE_NAME_BYTES};
pub use refused::FieldRefused;
pub use request_error::RequestError;
pub use time_to_live::{MAX_TTL_SECONDS, TimeToLive};
