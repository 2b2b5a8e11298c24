//! How long a frame lay around on its way: pure.
//!
//! A request says how much time it has left, not when it ends: two nodes' clocks may differ. But a
//! frame may lie in a socket's buffer for as long as its reader stands still, and a write that is
//! carried out after that, when its caller has long gone on without it, could win over later ones.
//! So each frame says when it was written, in its writer's time since the session began; the
//! quickest frame of a session shows how the two times lie to each other, and how much longer
//! another took is its age.
//!
//! An age may be too low by what the quickest frame took, which is bounded by the time that a
//! greeting may take; never too high, but for clocks that run at different speeds.

use std::time::Duration;

use tokio::time::Instant;

/// The frames of one session.
#[derive(Debug)]
pub(super) struct FrameAges {
    began: Instant,
    /// From the writer's time to the reader's, in milliseconds.
    quickest: Option<i128>,
}

impl FrameAges {
    /// Of a session that begins now, at its reader.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            quickest: None,
        }
    }

    /// The age of a frame that was written at `written_ms`, by its writer's time, and is read now.
    pub(super) fn age(&mut self, written_ms: u64, now: Instant) -> Duration {
        let read_ms = now.saturating_duration_since(self.began).as_millis();
        let took = i128::try_from(read_ms).unwrap_or(i128::MAX) - i128::from(written_ms);
        let quickest = self.quickest.map_or(took, |quickest| quickest.min(took));
        self.quickest = Some(quickest);
        Duration::from_millis(u64::try_from(took - quickest).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_frame_is_as_old_as_it_took_longer_than_the_quickest() {
        let began = Instant::now();
        let mut ages = FrameAges::new(began);
        assert_eq!(
            ages.age(700, began),
            Duration::ZERO,
            "the first is no guide"
        );
        assert_eq!(ages.age(800, began + 90 * MS), Duration::ZERO, "quicker");
        assert_eq!(ages.age(900, began + 190 * MS), Duration::ZERO);
        assert_eq!(ages.age(1000, began + 3290 * MS), 3000 * MS);
        assert_eq!(ages.age(4100, began + 3390 * MS), Duration::ZERO);
    }

    #[test]
    fn absurd_times_are_taken() {
        let began = Instant::now();
        let mut ages = FrameAges::new(began);
        assert_eq!(ages.age(u64::MAX, began), Duration::ZERO);
        assert_eq!(ages.age(0, began), Duration::from_millis(u64::MAX));
    }
}
