use uuid::Uuid;

use super::*;

const TIMING: Timing = Timing {
    interval: Duration::from_secs(600),
    outage: Duration::from_secs(60),
};

fn peer(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number))
}

fn pair(partition: u16, of: u128) -> PairId {
    (PartitionId(partition), peer(of))
}

fn schedule(now: Instant) -> Schedule {
    let mut schedule = Schedule::new(TIMING);
    let pairs = [(pair(0, 1), true), (pair(0, 2), true), (pair(1, 2), false)];
    let mut draws = [0, u64::MAX / 2].into_iter();
    schedule.set_pairs(pairs.into_iter(), now, || draws.next().unwrap());
    schedule
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn regular_pairs_are_compared_once_an_interval() {
    let began = Instant::now();
    let mut schedule = schedule(began);
    let (mut now, mut compared) = (began, BTreeMap::new());
    while now < began + seconds(6000) {
        match schedule.next(now) {
            Next::Compare(id, reason) => {
                assert_eq!(reason, Reason::Interval);
                *compared.entry(id).or_insert(0) += 1;
                now += seconds(1);
                schedule.ended(id, true, now, u64::MAX / 3);
            }
            Next::Rest(until) => now = until.unwrap(),
        }
    }
    let counts: Vec<_> = compared.into_iter().collect();
    assert!(
        matches!(counts[..], [(_, 10..=11), (_, 10..=11)]),
        "{counts:?}"
    );
    assert!(
        schedule
            .statuses(now)
            .iter()
            .all(|status| status.lag < seconds(700))
    );
}

#[test]
fn what_fails_is_tried_again_soon_and_then_more_rarely() {
    let mut now = Instant::now();
    let mut schedule = schedule(now);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let Next::Compare(id, _) = schedule.next(now) else {
            panic!("nothing due")
        };
        schedule.ended(id, false, now, u64::MAX);
        let due = schedule.pairs[&id].due.unwrap().0;
        waits.push(due.duration_since(now).as_secs());
        // The other pair rests.
        schedule.pairs.get_mut(&pair(0, 2)).unwrap().due = None;
        now = due;
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
    let lag = schedule.statuses(now)[0].lag;
    assert!(lag > seconds(200), "it is late all the while: {lag:?}");
}

#[test]
fn who_is_away_is_not_asked_and_compared_at_once_after_a_long_outage() {
    let began = Instant::now();
    let mut schedule = schedule(began);
    let Next::Compare(id, _) = schedule.next(began) else {
        panic!("nothing due")
    };
    assert_eq!(id, pair(0, 1));
    schedule.ended(id, true, began, 0);
    schedule.observe(peer(1), true, began + seconds(1));
    schedule.observe(peer(2), true, began + seconds(1));
    assert_eq!(schedule.next(began + seconds(30)), Next::Rest(None));
    schedule.observe(peer(2), false, began + seconds(30));
    let next = schedule.next(began + seconds(30));
    assert_eq!(
        next,
        Next::Compare(pair(0, 2), Reason::Interval),
        "due anyway"
    );
    schedule.observe(peer(1), true, began + seconds(60));
    schedule.observe(peer(1), false, began + seconds(62));
    let next = schedule.next(began + seconds(62));
    assert_eq!(next, Next::Compare(pair(0, 1), Reason::Returned));
}

#[test]
fn what_is_asked_for_comes_at_once_from_either_side() {
    let began = Instant::now();
    let mut schedule = schedule(began);
    let later = began + seconds(20);
    assert!(schedule.request(pair(1, 2), Reason::Asked, began));
    assert!(
        !schedule.request(pair(7, 2), Reason::Asked, began),
        "not an owner"
    );
    let due: Vec<_> = std::iter::from_fn(|| match schedule.next(later) {
        Next::Compare(id, reason) => Some((id, reason)),
        Next::Rest(_) => None,
    })
    .collect();
    assert!(due.contains(&(pair(1, 2), Reason::Asked)));
    assert_eq!(due.len(), 3);
    assert!(
        schedule.request(pair(1, 2), Reason::Asked, later),
        "while it is under way"
    );
    schedule.ended(pair(1, 2), true, later, 0);
    assert_eq!(
        schedule.next(later),
        Next::Compare(pair(1, 2), Reason::Asked)
    );
    schedule.ended(pair(1, 2), true, later, 0);
    assert_eq!(
        schedule.next(later + seconds(6000)),
        Next::Rest(None),
        "not regular"
    );
}

#[test]
fn a_new_placement_keeps_what_it_keeps() {
    let began = Instant::now();
    let mut schedule = schedule(began);
    let Next::Compare(id, _) = schedule.next(began) else {
        panic!("nothing due")
    };
    schedule.ended(id, true, began, 0);
    let now = began + seconds(5);
    let pairs = [(pair(0, 1), true), (pair(3, 9), true)];
    schedule.set_pairs(pairs.into_iter(), now, || 0);
    let statuses = schedule.statuses(now + seconds(1));
    let compared: Vec<_> = statuses.iter().map(|status| status.compared_ago).collect();
    assert_eq!(compared, [Some(seconds(6)), None]);
    assert_eq!(statuses[1].lag, seconds(1));
}
