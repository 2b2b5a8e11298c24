//! Threads for work that blocks on the disk, so that no async worker ever does.
//!
//! Bounded: a full queue answers at once instead of growing. Work whose caller has gone is
//! skipped, not done.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::bounded_queue::{BoundedQueue, NotQueued, QueueLimit};

type Job = Box<dyn FnOnce() + Send>;

/// How large the pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoPoolOptions {
    /// Number of threads: how many reads the disk sees at once.
    pub threads: usize,
    /// Number of jobs that may wait.
    pub queue_jobs: usize,
}

impl Default for IoPoolOptions {
    fn default() -> Self {
        Self {
            threads: 8,
            queue_jobs: 1024,
        }
    }
}

/// Why a job was not done. It had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IoPoolError {
    /// Too many jobs wait already; try again after a while.
    #[error("too many reads wait for the disk")]
    Full,
    /// The pool has stopped.
    #[error("the node's storage is stopping")]
    Stopped,
}

/// See the module. Clones share the threads, which end once all clones are gone or after
/// [`IoPool::stop`].
#[derive(Clone)]
pub struct IoPool {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Arc<BoundedQueue<Job>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    #[cfg(feature = "simulation")]
    pace: Option<Arc<dyn super::pace::Pace>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl IoPool {
    /// Starts the threads.
    pub fn start(options: IoPoolOptions) -> std::io::Result<Self> {
        let limit = QueueLimit {
            items: options.queue_jobs,
            bytes: usize::MAX,
        };
        let queue = Arc::new(BoundedQueue::<Job>::new(limit));
        let start = |number| {
            let queue = queue.clone();
            let work = move || std::iter::from_fn(|| queue.pop()).for_each(|job| job());
            let thread = std::thread::Builder::new().name(format!("io-{number}"));
            #[expect(
                clippy::disallowed_methods,
                reason = "disk reads block; in simulations they are tasks"
            )]
            let started = thread.spawn(work);
            started
        };
        let threads = (0..options.threads.max(1))
            .map(start)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            shared: Arc::new(Shared {
                queue,
                threads: Mutex::new(threads),
                #[cfg(feature = "simulation")]
                pace: None,
            }),
        })
    }

    /// A pool without threads: each job is done by its caller's task, at the disk's pace.
    #[cfg(feature = "simulation")]
    pub fn in_tasks(pace: Arc<dyn super::pace::Pace>) -> Self {
        let limit = QueueLimit { items: 0, bytes: 0 };
        Self {
            shared: Arc::new(Shared {
                queue: Arc::new(BoundedQueue::new(limit)),
                threads: Mutex::default(),
                pace: Some(pace),
            }),
        }
    }

    /// Does `work` on one of the threads. If the caller stops waiting before its turn, it is
    /// skipped.
    pub async fn run<T, F>(&self, work: F) -> Result<T, IoPoolError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        #[cfg(feature = "simulation")]
        if let Some(pace) = &self.shared.pace {
            pace.before_read().await;
            return Ok(work());
        }
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            if !answer.is_closed() {
                // The caller may still go away meanwhile: then nobody wants the result.
                let _ = answer.send(work());
            }
        });
        match self.shared.queue.try_push(job, 0) {
            Ok(()) => answered.await.map_err(|_| IoPoolError::Stopped),
            Err(NotQueued::Full(_)) => Err(IoPoolError::Full),
            Err(NotQueued::Closed(_)) => Err(IoPoolError::Stopped),
        }
    }

    /// Takes no more work, finishes what is queued and joins the threads. Blocks.
    pub fn stop(&self) {
        self.shared.queue.close();
        for thread in self.shared.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a storage thread has panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_full_pool_answers_at_once() {
        let pool = IoPool::start(IoPoolOptions {
            threads: 1,
            queue_jobs: 1,
        })
        .unwrap();
        let (release, released) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let busy = tokio::spawn({
            let pool = pool.clone();
            async move {
                let job = move || {
                    started.send(()).unwrap();
                    released.recv().unwrap();
                    1
                };
                pool.run(job).await
            }
        });
        #[expect(
            clippy::disallowed_methods,
            reason = "the test waits for the pool's thread"
        )]
        tokio::task::spawn_blocking(move || has_started.recv().unwrap())
            .await
            .unwrap();
        let queued = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(|| 2).await }
        });
        while pool.shared.queue.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|| 3).await, Err(IoPoolError::Full));
        release.send(()).unwrap();
        assert_eq!(busy.await.unwrap(), Ok(1));
        assert_eq!(queued.await.unwrap(), Ok(2));
    }

    #[tokio::test]
    async fn a_stopped_pool_refuses() {
        let pool = IoPool::start(IoPoolOptions::default()).unwrap();
        assert_eq!(pool.run(|| 1).await, Ok(1));
        pool.stop();
        assert_eq!(pool.run(|| 1).await, Err(IoPoolError::Stopped));
    }
}
