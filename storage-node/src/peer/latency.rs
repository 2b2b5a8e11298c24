//! How long each peer takes to answer: pure estimates, for choosing and for doubting replicas.

use std::collections::HashMap;
use std::time::Duration;

use annulus_ring::NodeId;

/// Weight of a new sample in the mean.
const MEAN_WEIGHT: f64 = 0.1;

/// How far one sample moves the 95th percentile, as a share of the estimate.
const PERCENTILE_STEP: f64 = 0.1;

/// What is assumed of a peer that has not answered yet.
const FIRST_GUESS: Duration = Duration::from_millis(1);

/// Running estimates in seconds.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    mean: f64,
    p95: f64,
}

impl Estimate {
    /// Mean: exponentially weighted. Percentile: stochastic approximation, which rises by 95 parts
    /// for a sample above it and falls by 5 for one below, so that it rests where 5 % are above.
    fn add(&mut self, sample: f64) {
        self.mean += (sample - self.mean) * MEAN_WEIGHT;
        let step = PERCENTILE_STEP * self.p95.max(1e-5);
        self.p95 += if sample > self.p95 {
            0.95 * step
        } else {
            -0.05 * step
        };
        // The shortest step is more than a tiny estimate can lose.
        self.p95 = self.p95.max(0.0);
    }
}

/// The estimates for all peers that have answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies(HashMap<NodeId, Estimate>);

impl Latencies {
    /// The peer answered after that long, or let the caller wait that long in vain.
    pub(crate) fn add(&mut self, peer: NodeId, sample: Duration) {
        let sample = sample.as_secs_f64();
        let fresh = Estimate {
            mean: sample,
            p95: 2.0 * sample,
        };
        self.0.entry(peer).or_insert(fresh).add(sample);
    }

    /// The usual time to an answer.
    pub(crate) fn mean(&self, peer: NodeId) -> Duration {
        self.0.get(&peer).map_or(FIRST_GUESS, |estimate| {
            Duration::from_secs_f64(estimate.mean)
        })
    }

    /// 95 of 100 answers come within that time.
    pub(crate) fn p95(&self, peer: NodeId) -> Duration {
        self.0.get(&peer).map_or(FIRST_GUESS, |estimate| {
            Duration::from_secs_f64(estimate.p95)
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn answers_in_no_time_leave_an_estimate_that_is_a_time() {
        let (mut latencies, peer) = (Latencies::default(), NodeId(Uuid::from_u128(1)));
        for _ in 0..100 {
            latencies.add(peer, Duration::ZERO);
            assert!(latencies.p95(peer) < Duration::from_millis(1));
        }
    }

    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_percentile_settles_where_one_in_twenty_is_above() {
        let peer = NodeId(Uuid::from_u128(1));
        let mut latencies = Latencies::default();
        // 100 evenly spread samples of 1 to 100 ms, in a scrambled order, many times.
        for i in 0..20_000_u64 {
            latencies.add(peer, Duration::from_millis(1 + i * 37 % 100));
        }
        let p95 = latencies.p95(peer).as_millis();
        assert!((80..=110).contains(&p95), "{p95}");
        let mean = latencies.mean(peer).as_millis();
        assert!((35..=65).contains(&mean), "{mean}");
    }

    #[test]
    fn a_peer_that_turned_slow_is_soon_the_slowest() {
        let (fast, slow) = (NodeId(Uuid::from_u128(1)), NodeId(Uuid::from_u128(2)));
        let mut latencies = Latencies::default();
        for _ in 0..100 {
            latencies.add(fast, Duration::from_millis(2));
            latencies.add(slow, Duration::from_millis(1));
        }
        assert!(latencies.mean(slow) < latencies.mean(fast));
        latencies.add(slow, Duration::from_millis(500));
        assert!(latencies.mean(slow) > latencies.mean(fast));
    }
}
