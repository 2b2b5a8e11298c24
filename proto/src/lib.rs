//! The wire: every protobuf package of Annulus and the conversions into domain types.
//!
//! Owns: the generated code (nowhere else is code generated), [`model`] with what the wire's
//! fields mean and their limits, the table of error codes, and the conversions of placements and of
//! reports of moves.
//!
//! Invariant: a domain type is built from a message only through a conversion that names the
//! field it refuses; nothing behind the door checks again.
//!
//! Leaves to others: what is done with a request.
#![forbid(unsafe_code)]

pub mod model;
mod move_report;
mod placement;
mod status;

pub use move_report::MoveReportRefused;
pub use placement::PlacementRefused;
pub use status::{read_status, write_status};

/// The descriptors of all packages, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

macro_rules! package {
    ($area:ident, $name:literal, $what:literal) => {
        #[doc = $what]
        pub mod $area {
            /// Version 1.
            #[expect(clippy::pedantic, reason = "generated from the .proto file")]
            pub mod v1 {
                tonic::include_proto!($name);
            }
        }
    };
}

package!(kv, "annulus.kv.v1", "The client API.");
package!(peer, "annulus.peer.v1", "Node to node.");
package!(admin, "annulus.admin.v1", "Operator to node.");
package!(ring, "annulus.ring.v1", "The placement.");
