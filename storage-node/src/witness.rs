//! What a simulation's invariants are told by code that is deep inside.
//!
//! Invariant: without the feature `simulation` nothing is told, and the compiler removes the calls. With
//! it, a thread is told what happens on it, by the simulation that listens there.

#[cfg(not(feature = "simulation"))]
use tokio::time::Instant;

/// A state is merged at this moment; its sender gave up at the deadline.
#[cfg(not(feature = "simulation"))]
pub(crate) const fn merged(_: Instant, _: Instant) {}

#[cfg(feature = "simulation")]
pub(crate) use listening::merged;
#[cfg(feature = "simulation")]
pub use listening::{Listening, late_merges, listen};

#[cfg(feature = "simulation")]
mod listening {
    use std::cell::Cell;

    use tokio::time::Instant;

    thread_local! {
        static LATE: Cell<u64> = const { Cell::new(0) };
    }

    /// Somebody listens on this thread until this is dropped.
    #[derive(Debug)]
    pub struct Listening(());

    impl Drop for Listening {
        fn drop(&mut self) {
            LATE.set(0);
        }
    }

    /// Listens on this thread.
    #[must_use]
    pub fn listen() -> Listening {
        LATE.set(0);
        Listening(())
    }

    /// How many states were merged after their deadlines, since somebody listens.
    pub fn late_merges() -> u64 {
        LATE.get()
    }

    pub(crate) fn merged(now: Instant, deadline: Instant) {
        if now >= deadline {
            LATE.set(LATE.get() + 1);
        }
    }
}
