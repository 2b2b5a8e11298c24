//! How long a simulated disk takes, for storage that runs in tasks instead of threads.
//!
//! Leaves to others: what the disk holds (the engine), where the work runs (`replica::Workers`).

use futures::future::BoxFuture;

use super::engine::{Batch, Persistence};

/// Paces what would block a thread. Its futures may never resolve: then the process has died.
pub trait Pace: Send + Sync + 'static {
    /// A batch is about to be written; resolves when it is to be handed to the engine.
    fn before_write(&self, batch: &Batch, persistence: Persistence) -> BoxFuture<'static, ()>;

    /// Something is about to be read from the disk; resolves when it is to be asked of the engine.
    fn before_read(&self) -> BoxFuture<'static, ()>;
}
