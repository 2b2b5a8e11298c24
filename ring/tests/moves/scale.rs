//! The largest ring: 1,000 nodes, 16,384 partitions, three copies; a node joins.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use annulus_ring::{Desired, MoveLimits, advance, estimate, next_batch, outline};

use crate::cluster::{RULES, equal_nodes, founded, held, n, q, willing};

/// What the plan alone may take.
const PLAN_MOST: Duration = Duration::from_secs(5);

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "measures how long planning takes"
)]
fn a_join_of_the_largest_ring_is_planned_in_seconds() {
    for zones in [1, 5] {
        let mut placement = founded(&equal_nodes(1000, zones), q(14), 3);
        let nodes = equal_nodes(1001, zones);
        let gone = BTreeSet::new();
        let desired = Desired {
            nodes: &nodes,
            replication_factor: n(3),
            gone: &gone,
            away: &gone,
        };

        let began = Instant::now();
        let moves = outline(&placement, &desired).unwrap();
        let rate = NonZeroU64::new(50_000_000).unwrap();
        let cost = estimate(&placement, &moves, |_| 1 << 30, rate, 2);
        let planned = began.elapsed();
        assert_eq!(cost.moves, moves.len());

        let (mut epochs, mut slowest) = (0, Duration::ZERO);
        loop {
            let evidence = willing(&placement, &gone);
            let began = Instant::now();
            let batch = next_batch(&placement, &desired, MoveLimits::default()).unwrap();
            let mut changes = advance(&placement, &evidence, RULES, &batch.cancel).changes;
            changes.extend(batch.changes);
            if changes.is_empty() {
                break;
            }
            placement = placement.apply(&changes).unwrap();
            slowest = slowest.max(began.elapsed());
            epochs += 1;
        }
        let joined = held(&placement)[&nodes[1000].id];
        println!(
            "{zones} zones: {} moves planned in {planned:.1?}, {} GiB in {:.0?}; {epochs} epochs, \
             an API write each, the slowest decided in {slowest:.1?}; the joiner has {joined} vnodes",
            moves.len(),
            cost.bytes >> 30,
            cost.duration,
        );
        assert!((48..=50).contains(&joined));
        assert!(
            planned < PLAN_MOST && slowest < PLAN_MOST,
            "{planned:?} {slowest:?}"
        );
        assert!(epochs <= 32, "{epochs}");
    }
}
