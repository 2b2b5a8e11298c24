//! Gossip alone, in rings of up to a thousand nodes: how soon a node that is gone is known to be, that none
//! is said to be which is not, and what it costs.

use std::time::{Duration, Instant};

use annulus_node::simulation::{GossipRing, Mistake, make};

/// Hours that a run of all tests simulates, for lack of time; a day with `ANNULUS_GOSSIP_HOURS=24`.
const HOURS: u64 = 2;

/// Everybody knows of a node that is gone within this time.
const KNOWN_WITHIN: Duration = Duration::from_secs(15);

#[expect(
    clippy::disallowed_methods,
    reason = "how long the simulation itself takes"
)]
fn stopwatch() -> Instant {
    Instant::now()
}

/// How long until everybody that is up believes the node to be down.
fn known_after(ring: &mut GossipRing, node: usize, others: usize) -> Duration {
    let step = Duration::from_millis(100);
    let mut waited = Duration::ZERO;
    while ring.beliefs_about(node) != [0, 0, others] {
        assert!(waited < 4 * KNOWN_WITHIN, "{:?}", ring.beliefs_about(node));
        ring.run_for(step);
        waited += step;
    }
    waited
}

/// A hundred nodes, one message in a hundred lost, node 0 slow.
fn hundred(seed: u64) -> GossipRing {
    let mut ring = GossipRing::new(100, seed);
    ring.set_lost_per_mille(10);
    ring.set_slow(0, Duration::from_millis(1500));
    ring
}

#[test]
fn a_node_that_is_gone_is_known_to_all_within_fifteen_seconds() {
    let mut longest = Duration::ZERO;
    for seed in 0..20 {
        let mut ring = hundred(seed);
        ring.run_for(Duration::from_secs(30));
        let gone = 1 + usize::try_from(seed).expect("a small number");
        ring.kill(gone);
        longest = longest.max(known_after(&mut ring, gone, 99));
        ring.restart(gone);
        ring.run_for(Duration::from_secs(10));
        assert_eq!(ring.beliefs_about(gone)[2], 0, "seed {seed}: it is back");
    }
    println!("the slowest of 20: {longest:?}");
    assert!(longest <= KNOWN_WITHIN, "{longest:?}");
}

#[test]
fn no_live_node_is_said_to_be_down_in_hours_of_losses_with_one_slow_node() {
    let hours = std::env::var("ANNULUS_GOSSIP_HOURS");
    let hours = hours.map_or(HOURS, |text| text.parse().expect("a number of hours"));
    let mut ring = hundred(7);
    let started = stopwatch();
    for minute in 0..hours * 60 {
        ring.run_for(Duration::from_secs(60));
        if minute % 10 == 0 {
            ring.stand_still(0, Duration::from_secs(4));
        }
        let figures = ring.figures();
        let unfounded = (figures.false_downs, figures.alone);
        assert_eq!(unfounded, (0, 0), "minute {minute}");
    }
    let took = started.elapsed();
    println!(
        "{hours} h of 100 nodes in {:.1} s: {:?}; the slow one accused {} times",
        took.as_secs_f64(),
        ring.figures(),
        ring.accusations_by(0),
    );
    assert!(ring.figures().refutations > 0, "nothing happened at all");
}

/// The cut-off observer gets no answer from anybody, and asks others in vain.
fn accusations_by_a_cut_off_node() -> u64 {
    let mut ring = GossipRing::new(30, 3);
    ring.run_for(Duration::from_secs(20));
    ring.set_slow(0, Duration::from_secs(60));
    ring.run_for(Duration::from_secs(60));
    ring.accusations_by(0)
}

#[test]
fn a_slow_observer_accuses_nobody() {
    assert_eq!(accusations_by_a_cut_off_node(), 0);
    let _mistake = make(Some(Mistake::SlowObserverAccuses));
    let accusations = accusations_by_a_cut_off_node();
    assert!(
        accusations > 20,
        "the mistake goes unnoticed: {accusations}"
    );
}

#[test]
fn a_node_that_stood_still_accuses_nobody_when_it_goes_on() {
    let run = || {
        let mut ring = GossipRing::new(30, 4);
        ring.run_for(Duration::from_secs(20));
        for _ in 0..10 {
            ring.stand_still(0, Duration::from_secs(5));
            ring.run_for(Duration::from_secs(20));
        }
        assert_eq!(ring.figures().false_downs, 0);
        ring.accusations_by(0)
    };
    assert_eq!(run(), 0);
}

#[test]
fn what_a_node_says_is_soon_known_to_all() {
    for nodes in [10, 100, 1000] {
        let mut ring = GossipRing::new(nodes, 5);
        ring.set_lost_per_mille(10);
        ring.run_for(Duration::from_secs(60)); // until everybody knows everybody
        ring.say_disk_is_full(3);
        let mut waited = 0;
        while ring.know_that_disk_is_full(3) + 1 < nodes.into() {
            ring.run_for(Duration::from_secs(1));
            waited += 1;
        }
        println!("{nodes} nodes: known to all after {waited} s");
        assert!(waited <= 10, "{nodes} nodes: {waited} s");
    }
}

#[test]
fn the_cost_of_a_node_does_not_grow_with_the_ring() {
    let mut costs = Vec::new();
    for nodes in [10_u16, 100, 1000] {
        let mut ring = GossipRing::new(nodes, 6);
        ring.set_lost_per_mille(10);
        ring.run_for(Duration::from_secs(60));
        ring.measure();
        ring.run_for(Duration::from_secs(30));
        let each = |count: u64| count / u64::from(nodes) / 30;
        let figures = ring.figures();
        let quiet = each(figures.bytes);
        ring.kill(1);
        ring.measure();
        ring.run_for(Duration::from_secs(30));
        let failing = each(ring.figures().bytes);
        println!(
            "{nodes} nodes: each sends {} messages, {quiet} bytes a second; {failing} while one of them goes down",
            each(figures.messages),
        );
        costs.push(failing);
    }
    assert!(costs[2] < 4 * costs[0].max(1000), "{costs:?}");
}

#[test]
fn a_thousand_nodes_find_out_about_one() {
    let mut ring = GossipRing::new(1000, 8);
    ring.set_lost_per_mille(10);
    ring.run_for(Duration::from_secs(60));
    ring.kill(17);
    let known = known_after(&mut ring, 17, 999);
    println!(
        "1000 nodes: known to all after {known:?}; {:?}",
        ring.figures()
    );
    assert!(known <= Duration::from_secs(20), "{known:?}");
    assert_eq!(ring.figures().false_downs, 0);
}

#[test]
fn a_seed_gives_the_same_gossip_every_time() {
    let run = || {
        let mut ring = hundred(9);
        ring.kill(5);
        ring.run_for(Duration::from_secs(120));
        (ring.figures(), ring.beliefs_about(5))
    };
    assert_eq!(run(), run());
}
