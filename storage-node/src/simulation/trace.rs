//! What happened: as one hash for comparing runs, and as lines for people when somebody asked for them.
//!
//! Lines cost more than all else in a simulation, and most seeds are fine. So a seed that fails runs
//! again with [`Trace::keep_lines`]: the events, and the hash, are the same.

use std::collections::VecDeque;
use std::fmt;

use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3Default;

use super::timeline::Timeline;

/// Lines that are kept for printing.
const KEPT: usize = 200_000;

/// See the module.
#[derive(Debug)]
pub struct Trace(Mutex<Inner>);

struct Inner {
    timeline: Timeline,
    hash: Xxh3Default,
    lines: Option<VecDeque<String>>,
    events: u64,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

/// Hashes text as it is formatted.
struct Hashing<'h>(&'h mut Xxh3Default);

impl fmt::Write for Hashing<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

impl Inner {
    fn event(&mut self) -> u128 {
        let at = self.timeline.elapsed().as_millis();
        self.hash.update(&at.to_le_bytes());
        self.events += 1;
        at
    }

    fn line(&mut self, at: u128, what: impl FnOnce() -> String) {
        let Some(lines) = &mut self.lines else { return };
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(format!("{:>5}.{:03} {}", at / 1000, at % 1000, what()));
    }
}

impl Trace {
    /// Nothing has happened, and lines are not kept.
    pub fn new(timeline: impl Into<Timeline>) -> Self {
        Self(Mutex::new(Inner {
            timeline: timeline.into(),
            hash: Xxh3Default::new(),
            lines: None,
            events: 0,
        }))
    }

    /// From now on what happens can be [printed](Self::last).
    pub fn keep_lines(&self) {
        self.0.lock().lines.get_or_insert_default();
    }

    /// This happens now.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        let mut inner = self.0.lock();
        let at = inner.event();
        fmt::write(&mut Hashing(&mut inner.hash), what).expect("hashing does not fail");
        inner.line(at, || what.to_string());
    }

    /// This happens now; `raw` tells it from all else that may happen, and `line` says it to people.
    pub fn note_raw(&self, raw: &[u8], line: impl FnOnce() -> String) {
        let mut inner = self.0.lock();
        let at = inner.event();
        inner.hash.update(raw);
        inner.line(at, line);
    }

    /// For people only: it is no event, and changes no hash.
    pub fn remark(&self, line: impl FnOnce() -> String) {
        let mut inner = self.0.lock();
        let at = inner.timeline.elapsed().as_millis();
        inner.line(at, line);
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
            .flatten()
            .rev()
            .filter(|line| wanted(line))
            .take(count)
            .cloned()
            .collect();
        found.reverse();
        found
    }
}
