//! Too much work: how many client requests are let in, and how far background work gives way to them.
//!
//! | module | owns |
//! |---|---|
//! | `latencies` | how long requests took, in one window (pure) |
//! | `usual` | what is usual here (pure) |
//! | `limit` | how many requests at once (pure) |
//! | `allowance` | bytes a second (pure) |
//! | `background` | the share of each kind of background work (pure) |
//!
//! Invariants: clients' requests are never held back by background work's needs; background work never
//! stops entirely; what is refused is refused before anything happened.
//!
//! Measured are the requests of this node's clients that succeeded: those that ran out of time wait for
//! nodes that are away, which fewer requests would not bring back.
//!
//! Leaves to others: refusing requests (`server`), the allowances that shares are of (`hints`, `antientropy`,
//! `rebuild`, `reaping`).

mod allowance;
mod background;
mod latencies;
mod limit;
mod metrics;
mod throttle;
mod usual;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

pub(crate) use self::allowance::Allowance;
use self::background::Shares;
use self::latencies::Latencies;
use self::limit::{Bounds, ConcurrencyLimit};
use self::metrics::OverloadMetrics;
pub(crate) use self::throttle::Throttle;
use self::usual::Usual;
use crate::clock::Clock;
use crate::config::Limits;

/// The shortest time that is judged.
const WINDOW: Duration = Duration::from_secs(1);

/// A window goes on until it has so many requests,
const ENOUGH: u32 = 100;

/// or until it is so old; then it says nothing.
const TOO_OLD: Duration = Duration::from_secs(10);

/// Background work that gives way to clients, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Writes that were kept for this node while it was away.
    Hints,
    /// Whole copies of vnodes.
    Stream,
    /// Comparisons of copies.
    AntiEntropy,
    /// Reading data back to see whether it is still good.
    Scrub,
}

impl Class {
    pub(crate) const ALL: [Self; 4] = [Self::Hints, Self::Stream, Self::AntiEntropy, Self::Scrub];

    fn as_str(self) -> &'static str {
        match self {
            Self::Hints => "hints",
            Self::Stream => "stream",
            Self::AntiEntropy => "anti_entropy",
            Self::Scrub => "scrub",
        }
    }
}

/// The node's view of its own load. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Overload(Arc<Parts>);

struct Parts {
    clock: Arc<dyn Clock>,
    /// As many client requests as may ever be worked on at once.
    admission: Arc<Semaphore>,
    most: usize,
    metrics: OverloadMetrics,
    state: Mutex<State>,
}

impl fmt::Debug for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overload").finish_non_exhaustive()
    }
}

impl Overload {
    pub(crate) fn new(limits: &Limits, clock: Arc<dyn Clock>, registry: &mut Registry) -> Self {
        let bounds = Bounds {
            lowest: limits
                .min_concurrent_requests
                .min(limits.max_concurrent_requests),
            highest: limits.max_concurrent_requests,
        };
        let state = State::new(bounds, clock.now());
        let metrics = OverloadMetrics::register(registry);
        metrics.set(&state);
        Self(Arc::new(Parts {
            admission: Arc::new(Semaphore::new(bounds.highest)),
            most: bounds.highest,
            state: Mutex::new(state),
            clock,
            metrics,
        }))
    }

    /// Lets a client's request in until the permit is dropped. `None`: there are as many as may be now.
    pub(crate) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let at_once = self.requests_in_flight();
        let limit = {
            let mut state = self.0.state.lock();
            state.most_at_once = state.most_at_once.max(at_once + 1);
            state.limit.get()
        };
        let permit = Arc::clone(&self.0.admission).try_acquire_owned();
        permit.ok().filter(|_| at_once < limit)
    }

    /// Client requests that are worked on.
    pub(crate) fn requests_in_flight(&self) -> usize {
        self.0.most - self.0.admission.available_permits()
    }

    /// A client's request succeeded now, after this time.
    pub(crate) fn answered(&self, took: Duration, now: Instant) {
        let mut state = self.0.state.lock();
        state.window.add(took);
        if state.turn(now) {
            self.0.metrics.set(&state);
        }
    }

    /// Background work is about to spend from its allowance: the share of it that it may use, above 0 and
    /// 1 at most.
    pub(crate) fn share(&self, class: Class) -> f64 {
        let now = self.0.clock.now();
        let mut state = self.0.state.lock();
        state.beside_background = true;
        if state.turn(now) {
            self.0.metrics.set(&state);
        }
        state.shares.of(class)
    }
}

/// Pure.
struct State {
    opened: Instant,
    window: Latencies,
    most_at_once: usize,
    beside_background: bool,
    usual: Usual,
    limit: ConcurrencyLimit,
    shares: Shares,
}

impl State {
    fn new(bounds: Bounds, now: Instant) -> Self {
        Self {
            opened: now,
            window: Latencies::new(),
            most_at_once: 0,
            beside_background: false,
            usual: Usual::default(),
            limit: ConcurrencyLimit::new(bounds),
            shares: Shares::new(),
        }
    }

    /// Ends the window where it is time to. Whether it was.
    fn turn(&mut self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.opened);
        let is_enough = self.window.count() >= ENOUGH;
        if age < WINDOW || (!is_enough && age < TOO_OLD) {
            return false;
        }
        if is_enough {
            let p99 = self.window.p99();
            let ratio = self.usual.compare(p99, self.beside_background);
            self.limit.follow(ratio, self.most_at_once);
            self.shares.follow(ratio);
        } else {
            // Too few clients to suffer: there is nobody to give way to.
            self.limit.follow(1.0, self.most_at_once);
            self.shares = Shares::new();
        }
        self.opened = now;
        self.window = Latencies::new();
        (self.most_at_once, self.beside_background) = (0, false);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        lowest: 8,
        highest: 4096,
    };

    /// Seconds of requests, each of which takes so long.
    fn seconds(state: &mut State, now: &mut Instant, count: u32, took: Duration) {
        for _ in 0..count {
            for _ in 0..200 {
                state.window.add(took);
            }
            *now += WINDOW;
            assert!(state.turn(*now));
        }
    }

    #[test]
    fn background_work_gives_way_when_clients_get_slower_and_comes_back() {
        let mut now = Instant::now();
        let mut state = State::new(BOUNDS, now);
        seconds(&mut state, &mut now, 10, Duration::from_millis(5));
        assert!(state.shares.of(Class::Scrub) >= 1.0);
        state.beside_background = true;
        seconds(&mut state, &mut now, 5, Duration::from_millis(10));
        assert!(state.shares.of(Class::Hints) < 0.1);
        assert_eq!(state.limit.get(), BOUNDS.highest, "there were few at once");
        seconds(&mut state, &mut now, 10, Duration::from_millis(5));
        assert!(state.shares.of(Class::Hints) >= 1.0);
    }

    #[test]
    fn a_window_of_few_requests_goes_on_and_then_says_nothing() {
        let mut now = Instant::now();
        let mut state = State::new(BOUNDS, now);
        seconds(&mut state, &mut now, 3, Duration::from_millis(1));
        state.window.add(Duration::from_secs(20));
        now += WINDOW * 2;
        assert!(!state.turn(now));
        now += TOO_OLD;
        assert!(state.turn(now));
        assert!(state.shares.of(Class::Scrub) >= 1.0);
    }

    #[test]
    fn when_clients_are_gone_nothing_gives_way() {
        let mut now = Instant::now();
        let mut state = State::new(BOUNDS, now);
        seconds(&mut state, &mut now, 10, Duration::from_millis(5));
        state.beside_background = true;
        seconds(&mut state, &mut now, 5, Duration::from_millis(50));
        assert!(state.shares.of(Class::Stream) < 0.1);
        now += TOO_OLD;
        assert!(state.turn(now));
        assert!(state.shares.of(Class::Stream) >= 1.0);
    }
}
