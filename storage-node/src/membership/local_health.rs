//! How far this node may trust its own observations: pure (Dadgar, Phillips & Currey, "Lifeguard", 2017).
//!
//! Most false accusations come from a slow observer. So whatever speaks against this node itself (nobody
//! answers it, not even those that have nothing to do with the one it asked about; others suspect it; its
//! own clock runs ahead of it) lengthens the time that it gives others to answer.

use std::time::Duration;

/// The worst score.
const WORST: u32 = 8;

/// The score: 0 is healthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LocalHealth(u32);

impl LocalHealth {
    /// A node answered in time.
    pub(super) fn better(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    /// So many things speak against this node itself.
    pub(super) fn worse(&mut self, by: usize) {
        let by = u32::try_from(by).unwrap_or(WORST);
        self.0 = self.0.saturating_add(by).min(WORST);
    }

    /// 0 to 8.
    pub(super) fn score(self) -> u32 {
        self.0
    }

    /// A time for others, as much longer as this node is worse.
    pub(super) fn stretch(self, time: Duration) -> Duration {
        time * (self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_slow_gives_others_more_time_and_recovers() {
        let mut health = LocalHealth::default();
        let time = Duration::from_millis(500);
        assert_eq!(health.stretch(time), time);
        health.worse(100);
        assert_eq!(health.stretch(time), 9 * time);
        for _ in 0..20 {
            health.better();
        }
        assert_eq!(health, LocalHealth::default());
    }
}
