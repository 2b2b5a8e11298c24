//! Where the replica's blocking work runs: on threads of its own, or, in a simulation, in tasks of
//! the simulation's runtime at the pace of a simulated disk.
//!
//! Leaves to others: the work (`committer`).

#[cfg(feature = "simulation")]
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
#[cfg(feature = "simulation")]
use tokio_util::task::TaskTracker;

use super::committer::Committer;
#[cfg(feature = "simulation")]
use crate::storage::Persistence;
use crate::storage::io_pool::{IoPool, IoPoolOptions};
#[cfg(feature = "simulation")]
use crate::storage::pace::Pace;

/// See the module.
pub(super) enum Workers {
    Threads(Mutex<Vec<JoinHandle<()>>>),
    #[cfg(feature = "simulation")]
    Tasks(TaskTracker, Arc<dyn Pace>),
}

impl Workers {
    pub(super) fn threads() -> Self {
        Self::Threads(Mutex::default())
    }

    #[cfg(feature = "simulation")]
    pub(super) fn tasks(pace: Arc<dyn Pace>) -> Self {
        Self::Tasks(TaskTracker::new(), pace)
    }

    /// Where reads from the disk run.
    pub(super) fn io_pool(&self, options: IoPoolOptions) -> std::io::Result<IoPool> {
        match self {
            Self::Threads(_) => IoPool::start(options),
            #[cfg(feature = "simulation")]
            Self::Tasks(_, pace) => Ok(IoPool::in_tasks(pace.clone())),
        }
    }

    /// Lets a committer run until its queue is closed and empty.
    pub(super) fn run(&self, number: usize, committer: Committer) -> std::io::Result<()> {
        match self {
            Self::Threads(threads) => {
                let thread = std::thread::Builder::new().name(format!("commit-{number}"));
                #[expect(
                    clippy::disallowed_methods,
                    reason = "log writes block; in simulations committers are tasks"
                )]
                let started = thread.spawn(move || committer.run())?;
                threads.lock().push(started);
            }
            #[cfg(feature = "simulation")]
            Self::Tasks(tasks, pace) => {
                tasks.spawn(run_in_task(committer, pace.clone()));
            }
        }
        Ok(())
    }

    /// Whether [`Self::join`] may block; not on an async worker then.
    pub(super) fn may_block(&self) -> bool {
        match self {
            Self::Threads(_) => true,
            #[cfg(feature = "simulation")]
            Self::Tasks(..) => false,
        }
    }

    /// Waits for tasks to end; threads are [joined](Self::join) where blocking is allowed.
    pub(super) async fn tasks_ended(&self) {
        match self {
            Self::Threads(_) => {}
            #[cfg(feature = "simulation")]
            Self::Tasks(tasks, _) => {
                tasks.close();
                tasks.wait().await;
            }
        }
    }

    /// Waits for threads to end. Whether they ended well. Blocks.
    pub(super) fn join(&self) -> bool {
        match self {
            Self::Threads(threads) => threads.lock().drain(..).all(|thread| thread.join().is_ok()),
            #[cfg(feature = "simulation")]
            Self::Tasks(..) => true,
        }
    }
}

/// As [`Committer::run`], with the disk's time between applying a group and writing it.
#[cfg(feature = "simulation")]
async fn run_in_task(mut committer: Committer, pace: Arc<dyn Pace>) {
    while let Some(first) = committer.queue.pop_in_task().await {
        let group = committer.apply_group(first);
        for (log, persistence) in [
            (group.buffered, Persistence::Buffered),
            (group.synced, Persistence::Synced),
        ] {
            let begun = committer.clock.now();
            if !log.batch.is_empty() {
                pace.before_write(&log.batch, persistence).await;
            }
            committer.write_log(log, persistence, begun);
        }
    }
}
