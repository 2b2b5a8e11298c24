//! How many bytes a second moves may take, in and out, over all of them.
//!
//! Each direction has the whole rate. Both give way to this node's clients, but not below [`FLOOR`]: a move that
//! stands still under lasting load is what the load would need most.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::sleep;

use super::metrics::MoveMetrics;
use crate::clock::{Clock, milliseconds};
use crate::overload::{Allowance, Class, Overload, Throttle};

/// Bytes a second that are left to moves when clients suffer, if the rate is not lower anyway.
const FLOOR: u64 = 5_000_000;

/// So much of the rate may gather.
const SAVES: Duration = Duration::from_millis(100);

/// A page takes no longer than this at the full rate.
const LONGEST_PAGE: Duration = Duration::from_millis(250);

/// From where this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// What it takes.
    In,
    /// What it gives.
    Out,
}

/// Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct MovePace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rates: Mutex<Rates>,
    outgoing: Semaphore,
    overload: Overload,
    clock: Arc<dyn Clock>,
    metrics: MoveMetrics,
}

#[derive(Debug)]
struct Rates {
    bytes_per_second: u64,
    incoming: Allowance,
    outgoing: Allowance,
}

impl MovePace {
    /// So many bytes a second, and so many pages at a time for others.
    pub(crate) fn new(
        bytes_per_second: u64,
        streams: usize,
        overload: Overload,
        clock: Arc<dyn Clock>,
        metrics: MoveMetrics,
    ) -> Self {
        let now = clock.now();
        let allowance = || Allowance::new(bytes_per_second, SAVES, now);
        let rates = Rates {
            bytes_per_second,
            incoming: allowance(),
            outgoing: allowance(),
        };
        let pace = Self(Arc::new(Inner {
            rates: Mutex::new(rates),
            outgoing: Semaphore::new(streams),
            overload,
            clock,
            metrics,
        }));
        pace.show();
        pace
    }

    /// Bytes a second in each direction.
    pub(crate) fn bytes_per_second(&self) -> u64 {
        self.0.rates.lock().bytes_per_second
    }

    /// Changes that; in effect at once, until the process ends.
    pub(crate) fn set(&self, bytes_per_second: u64) {
        {
            let mut rates = self.0.rates.lock();
            rates.bytes_per_second = bytes_per_second.max(1);
            rates.incoming.set_rate(bytes_per_second);
            rates.outgoing.set_rate(bytes_per_second);
        }
        self.show();
    }

    fn show(&self) {
        let rate = i64::try_from(self.bytes_per_second()).unwrap_or(i64::MAX);
        self.0.metrics.bytes_per_second.set(rate);
    }

    /// The most bytes of one page: of `most`, what the rate lets pass soon.
    pub(crate) fn page_bytes(&self, most: u64) -> u64 {
        let soon = self.bytes_per_second() / 1000 * milliseconds(LONGEST_PAGE);
        most.min(soon).max(1)
    }

    /// Leave to give one page; `None`: others take as many as may be at a time.
    pub(crate) fn give(&self) -> Option<SemaphorePermit<'_>> {
        self.0.outgoing.try_acquire().ok()
    }

    /// Pays for what passes in one direction.
    pub(crate) fn towards(&self, direction: Direction) -> Paced<'_> {
        let pace = self;
        Paced { pace, direction }
    }

    fn counter(&self, direction: Direction) -> &Counter {
        match direction {
            Direction::In => &self.0.metrics.bytes_in,
            Direction::Out => &self.0.metrics.bytes_out,
        }
    }
}

/// One direction of a [`MovePace`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paced<'a> {
    pace: &'a MovePace,
    direction: Direction,
}

impl Throttle for Paced<'_> {
    async fn spend(&self, bytes: usize) {
        let Inner {
            rates,
            overload,
            clock,
            ..
        } = &*self.pace.0;
        self.pace.counter(self.direction).inc_by(bytes as u64);
        let now = clock.now();
        let owed = {
            let mut rates = rates.lock();
            let floor = FLOOR as f64 / rates.bytes_per_second as f64;
            let share = overload.share(Class::Stream).max(floor).min(1.0);
            let allowance = match self.direction {
                Direction::In => &mut rates.incoming,
                Direction::Out => &mut rates.outgoing,
            };
            allowance.spend(bytes as u64, share, now);
            allowance.owed(now)
        };
        sleep(owed).await; // paced: the rate of moves
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::clock::SystemClock;
    use crate::config::Limits;

    fn pace(rate: u64) -> MovePace {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let limits = Limits::default();
        let overload = Overload::new(&limits, clock.clone(), &mut Registry::default());
        MovePace::new(rate, 1, overload, clock, MoveMetrics::default())
    }

    async fn seconds(pace: &MovePace, direction: Direction, bytes: usize) -> f64 {
        let began = SystemClock.now();
        for _ in 0..10 {
            pace.towards(direction).spend(bytes / 10).await;
        }
        SystemClock.now().duration_since(began).as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn each_direction_has_the_whole_rate_and_a_change_counts_at_once() {
        let pace = pace(1_000_000);
        let both = futures::join!(
            seconds(&pace, Direction::In, 10_000_000),
            seconds(&pace, Direction::Out, 10_000_000)
        );
        for took in [both.0, both.1] {
            assert!((9.0..=11.0).contains(&took), "{took}");
        }
        pace.set(10_000_000);
        let took = seconds(&pace, Direction::In, 10_000_000).await;
        assert!((0.9..=1.1).contains(&took), "{took}");
        assert_eq!(pace.0.metrics.bytes_in.get(), 20_000_000);
    }

    #[tokio::test]
    async fn pages_are_as_small_as_a_low_rate_needs_them() {
        assert_eq!(pace(50_000_000).page_bytes(1 << 20), 1 << 20);
        assert_eq!(pace(1000).page_bytes(1 << 20), 250);
        assert_eq!(pace(1).page_bytes(1 << 20), 1);
        let pace = pace(1000);
        let given = pace.give();
        assert!(given.is_some() && pace.give().is_none());
    }
}
