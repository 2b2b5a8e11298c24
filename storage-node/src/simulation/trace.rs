//! What happened, as lines for people and as one hash for comparing runs.

use std::collections::VecDeque;
use std::fmt;

use parking_lot::Mutex;
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3Default;

/// Lines that are kept for printing.
const KEPT: usize = 50_000;

/// See the module.
#[derive(Debug)]
pub struct Trace(Mutex<Inner>);

struct Inner {
    began: Instant,
    hash: Xxh3Default,
    lines: VecDeque<String>,
    events: u64,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl Trace {
    /// Nothing has happened.
    pub fn new(began: Instant) -> Self {
        Self(Mutex::new(Inner {
            began,
            hash: Xxh3Default::new(),
            lines: VecDeque::new(),
            events: 0,
        }))
    }

    /// This happens now.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        let mut inner = self.0.lock();
        let at = Instant::now().duration_since(inner.began).as_millis();
        let line = format!("{:>5}.{:03} {what}", at / 1000, at % 1000);
        inner.hash.update(line.as_bytes());
        inner.events += 1;
        if inner.lines.len() == KEPT {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.0.lock().hash.digest()
    }

    /// How much has happened.
    pub fn events(&self) -> u64 {
        self.0.lock().events
    }

    /// The last lines, of those that are `wanted`.
    pub fn last(&self, count: usize, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let inner = self.0.lock();
        let mut found: Vec<_> = inner
            .lines
            .iter()
            .rev()
            .filter(|line| wanted(line))
            .take(count)
            .cloned()
            .collect();
        found.reverse();
        found
    }
}
