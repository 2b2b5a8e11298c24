//! What the node tells about itself: log lines and metrics.
//!
//! Owns: the log subscriber, the metrics registry with its prefix `annulus_node_`, the metrics of
//! the edges and of the process. Other parts define a struct of metrics beside their code and
//! register it; their names carry no prefix.
//!
//! Invariant: labels come from small closed sets (operations, keyspaces, levels, outcomes); never
//! a key, a client or a peer's address.

mod disk;
mod process;
mod registry;
mod request_metrics;
mod ring_metrics;
mod tracing;

pub(crate) use disk::{DiskSpace, disk_space};
pub(crate) use registry::{Metrics, OPENMETRICS};
pub(crate) use request_metrics::{Counted, Operation, RequestMetrics};
pub(crate) use ring_metrics::RingMetrics;
pub use tracing::start_logging;
