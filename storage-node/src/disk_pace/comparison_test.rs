use proptest::prelude::{any, prop_assert, proptest};
use uuid::Uuid;

use super::*;

const RULES: SlowDiskRules = SlowDiskRules {
    factor: 10,
    at_least: Duration::from_millis(10),
    lasting: Duration::from_secs(60),
    every: Duration::from_secs(10),
};

fn node(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number))
}

fn syncs(milliseconds: u64) -> DiskPace {
    DiskPace {
        sync: Some(Duration::from_millis(milliseconds)),
        read: None,
    }
}

fn report(pace: DiskPace) -> DiskReport {
    DiskReport {
        pace,
        is_slow: false,
    }
}

/// Beside others that take so many milliseconds for a sync.
fn beside(others: &[u64], now: Instant) -> Comparison {
    let mut comparison = Comparison::new(RULES);
    for (number, takes) in (1..).zip(others) {
        comparison.heard(node(number), report(syncs(*takes)), now);
    }
    comparison
}

/// At which of so many seconds it is slow, looked at every second.
fn slow_from(comparison: &mut Comparison, own: DiskPace, seconds: u64) -> Option<u64> {
    let begun = Instant::now();
    (0..seconds).find(|second| comparison.judge(own, begun + Duration::from_secs(*second)))
}

#[test]
fn what_takes_ten_times_as_long_for_a_minute_is_slow() {
    let now = Instant::now();
    assert_eq!(
        slow_from(&mut beside(&[2, 3], now), syncs(31), 90),
        Some(60)
    );
    assert_eq!(slow_from(&mut beside(&[2, 3], now), syncs(30), 90), None);
    assert_eq!(
        slow_from(&mut beside(&[2, 3, 3, 900], now), syncs(31), 90),
        Some(60)
    );
}

#[test]
fn reads_count_as_syncs_do() {
    let now = Instant::now();
    let reads = |milliseconds| DiskPace {
        read: Some(Duration::from_millis(milliseconds)),
        ..syncs(3)
    };
    let mut comparison = Comparison::new(RULES);
    for number in 1..=2 {
        comparison.heard(node(number), report(reads(2)), now);
    }
    assert_eq!(slow_from(&mut comparison, reads(100), 90), Some(60));
}

#[test]
fn a_disk_that_is_fast_in_itself_is_not_slow() {
    let now = Instant::now();
    assert_eq!(slow_from(&mut beside(&[0, 0, 0], now), syncs(9), 90), None);
}

#[test]
fn nobody_is_slow_where_it_cannot_be_told_who() {
    let now = Instant::now();
    assert_eq!(slow_from(&mut beside(&[1], now), syncs(900), 90), None);
    assert_eq!(slow_from(&mut beside(&[1, 900], now), syncs(900), 90), None);
    assert_eq!(
        slow_from(&mut beside(&[2, 2], now), DiskPace::default(), 90),
        None
    );
}

#[test]
fn one_good_look_begins_the_minute_anew_in_both_directions() {
    let begun = Instant::now();
    let mut comparison = beside(&[2, 3], begun);
    let mut judged =
        |second, takes| comparison.judge(syncs(takes), begun + Duration::from_secs(second));
    assert!(!judged(0, 100));
    assert!(!judged(59, 3));
    assert!(!judged(60, 100));
    assert!(!judged(119, 100));
    assert!(judged(120, 100));
    assert!(judged(121, 3));
    assert!(judged(170, 100));
    assert!(judged(171, 3));
    assert!(judged(230, 3));
    assert!(!judged(231, 3));
}

#[test]
fn others_are_slow_by_their_own_word_until_they_are_not_heard_of() {
    let now = Instant::now();
    let mut comparison = beside(&[2, 900], now);
    assert_eq!(
        comparison.slow_others().count(),
        0,
        "its network may be slow"
    );
    let slow = DiskReport {
        pace: syncs(900),
        is_slow: true,
    };
    comparison.heard(node(2), slow, now);
    comparison.keep(&[node(1), node(2)], now + RULES.every * 30);
    assert_eq!(comparison.slow_others().collect::<Vec<_>>(), [node(2)]);
    comparison.keep(&[node(1), node(2)], now + RULES.every * 31);
    assert_eq!(comparison.slow_others().count(), 0);
    comparison.heard(node(2), slow, now);
    comparison.keep(&[node(1)], now);
    assert_eq!(comparison.slow_others().count(), 0, "it is no member");
}

proptest! {
    /// There is always somebody to ask first.
    #[test]
    fn more_than_half_are_never_slow(takes in proptest::collection::vec(any::<u16>(), 3..9)) {
        let now = Instant::now();
        let is_slow = |own: usize| {
            let mut others = takes.clone();
            let own = others.remove(own);
            let others: Vec<u64> = others.into_iter().map(u64::from).collect();
            slow_from(&mut beside(&others, now), syncs(own.into()), 62).is_some()
        };
        let slow = (0..takes.len()).filter(|own| is_slow(*own)).count();
        prop_assert!(slow * 2 <= takes.len(), "{slow} of {}", takes.len());
    }
}
