//! How long requests took, in one window of time: pure, and of a fixed size.
//!
//! Durations are counted in buckets, four to each power of two of microseconds, so a percentile is right
//! within a quarter.

use std::time::Duration;

/// The last bucket begins at some 117 s: longer than any request may take.
const BUCKETS: usize = 104;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Latencies {
    counts: [u32; BUCKETS],
    count: u32,
}

/// The bucket of a duration.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(4);
    let power = micros.ilog2() - 2;
    let quarter = (micros >> power) - 4;
    let bucket = u64::from(power) * 4 + quarter;
    usize::try_from(bucket).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

/// Where the bucket ends.
fn end(bucket: usize) -> Duration {
    let next = bucket as u64 + 1;
    Duration::from_micros((next % 4 + 4) << (next / 4))
}

impl Latencies {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            counts: [0; BUCKETS],
            count: 0,
        }
    }

    /// A request took so long.
    pub(super) fn add(&mut self, took: Duration) {
        let count = &mut self.counts[bucket(took)];
        *count = count.saturating_add(1);
        self.count = self.count.saturating_add(1);
    }

    /// How many there were.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// What 99 in a hundred took at most; nothing where there were none.
    pub(super) fn p99(&self) -> Duration {
        let mut beyond = self.count / 100;
        for (bucket, count) in self.counts.iter().enumerate().rev() {
            if *count > beyond {
                return end(bucket);
            }
            beyond -= count;
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_percentile_is_right_within_a_quarter(
            mut micros in prop::collection::vec(4_u64..60_000_000, 1..2_000),
        ) {
            let mut latencies = Latencies::new();
            for took in &micros {
                latencies.add(Duration::from_micros(*took));
            }
            micros.sort_unstable();
            let exact = micros[micros.len() - 1 - micros.len() / 100] as f64 / 1e6;
            let said = latencies.p99().as_secs_f64();
            prop_assert!(said > exact && said <= exact * 1.2501, "{said} for {exact}");
        }
    }

    #[test]
    fn nothing_and_much_have_a_bucket() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.p99(), Duration::ZERO);
        latencies.add(Duration::ZERO);
        assert_eq!(latencies.p99(), Duration::from_micros(5));
        latencies.add(Duration::from_secs(3600));
        assert!(latencies.p99() > Duration::from_secs(30));
        assert_eq!(latencies.count(), 2);
    }
}
