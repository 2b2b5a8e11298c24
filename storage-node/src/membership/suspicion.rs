//! How long a suspicion lasts before the suspect counts as down: pure.
//!
//! Long while one node alone accuses, since it may be the observer that is slow, and down to a minimum as
//! others accuse independently (Lifeguard's LHA-Suspicion). The minimum grows with the logarithm of the
//! ring, as does the time that a contradiction needs to reach everybody.

use std::time::Duration;

/// Further accusers that shorten a suspicion; more make no difference.
const CONFIRMATIONS: usize = 3;

/// The rings for which the shortest time is as configured; larger ones take longer.
const NODES_WITHOUT_STRETCH: f64 = 100.0;

/// The times for one ring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SuspicionTimes {
    shortest: Duration,
    longest: Duration,
    /// Further accusers that there can be.
    confirmations: usize,
}

impl SuspicionTimes {
    /// For a ring of so many nodes.
    pub(super) fn new(nodes: usize, down_after: Duration, longest_factor: u32) -> Self {
        let stretch = (nodes.max(1) as f64).log10() / NODES_WITHOUT_STRETCH.log10();
        let shortest = down_after.mul_f64(stretch.max(1.0));
        Self {
            shortest,
            longest: shortest * longest_factor,
            confirmations: nodes.saturating_sub(2).min(CONFIRMATIONS),
        }
    }

    /// The time that a suspicion with so many accusers lasts.
    pub(super) fn lasts(&self, accusers: usize) -> Duration {
        let confirmed = accusers.saturating_sub(1).min(self.confirmations);
        if self.confirmations == 0 || confirmed == self.confirmations {
            return self.shortest;
        }
        let share = ((confirmed + 1) as f64).ln() / ((self.confirmations + 1) as f64).ln();
        let spare = self.longest.saturating_sub(self.shortest);
        self.longest.saturating_sub(spare.mul_f64(share))
    }

    /// Without any other node's word.
    pub(super) fn shortest(&self) -> Duration {
        self.shortest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EIGHT: Duration = Duration::from_secs(8);

    #[test]
    fn each_accuser_shortens_it_down_to_the_minimum() {
        let times = SuspicionTimes::new(100, EIGHT, 3);
        let lasts: Vec<_> = (1..=5).map(|accusers| times.lasts(accusers)).collect();
        assert_eq!(lasts[0], 3 * EIGHT);
        assert!(lasts.windows(2).all(|pair| pair[0] >= pair[1]), "{lasts:?}");
        assert_eq!((lasts[3], lasts[4]), (EIGHT, EIGHT));
    }

    #[test]
    fn it_grows_with_the_logarithm_of_the_ring() {
        let shortest = |nodes| SuspicionTimes::new(nodes, EIGHT, 3).shortest();
        assert_eq!(shortest(3), EIGHT);
        assert_eq!(shortest(100), EIGHT);
        assert_eq!(shortest(1000).as_millis().div_ceil(1000), 12);
    }

    #[test]
    fn where_nobody_else_can_accuse_one_accuser_is_enough() {
        assert_eq!(SuspicionTimes::new(2, EIGHT, 3).lasts(1), EIGHT);
        assert_eq!(SuspicionTimes::new(3, EIGHT, 3).lasts(2), EIGHT);
    }
}
