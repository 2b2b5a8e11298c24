//! A disk that does what it is asked, and takes a hundred times as long: its node finds out, the others hear of it, and
//! nobody else is suspected.

use std::collections::BTreeSet;
use std::time::Duration;

use annulus_node::simulation::{SimNode, SyncTakes};
use tokio::time::{Instant, sleep};

use crate::plan::Plan;
use crate::run::{arena, begin, in_simulation};
use crate::workload::Arena;

/// A window of a minute, the time that slowness has to last, and some rounds of asking.
const KNOWN_WITHIN: Duration = Duration::from_secs(120);

/// Clients that are busy, and no faults.
fn plan(seed: u64) -> Plan {
    Plan {
        nodes: 5,
        clients: 8,
        keys: 24,
        think_ms: 30,
        faults: Vec::new(),
        ..Plan::of(seed).still()
    }
}

/// Whether exactly this node, or none, is taken to have a slow disk, by itself and by all others.
fn all_blame(arena: &Arena, slow: Option<&SimNode>) -> bool {
    let slow: BTreeSet<_> = slow.iter().map(|node| node.id()).collect();
    let others_of = |node: &SimNode| {
        let others = slow.iter().filter(|slow| **slow != node.id());
        others.copied().collect::<BTreeSet<_>>()
    };
    let nodes = arena.cluster.nodes().iter();
    nodes.into_iter().all(|node| {
        node.finds_its_disk_slow() == slow.contains(&node.id())
            && node.slow_others() == others_of(node)
    })
}

/// Waits until all blame this one. Meanwhile nobody else may be blamed.
async fn until_all_blame(arena: &Arena, slow: Option<&SimNode>, suspect: &SimNode) {
    let patience = Instant::now() + KNOWN_WITHIN;
    while !all_blame(arena, slow) {
        assert!(
            Instant::now() < patience,
            "not known in time: {slow:?}",
            slow = slow.map(SimNode::name)
        );
        for node in arena.cluster.nodes() {
            let innocent = node.id() != suspect.id();
            assert!(
                !(innocent && node.finds_its_disk_slow()),
                "{} is fast",
                node.name()
            );
        }
        sleep(Duration::from_millis(500)).await;
    }
}

async fn one_slow_disk(plan: &Plan) {
    let arena = arena(plan);
    let clients = begin(plan, &arena).await;
    *arena.ends.lock() = Instant::now() + Duration::from_secs(600);
    let running: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(client.run()))
        .collect();
    sleep(Duration::from_secs(90)).await;
    assert!(all_blame(&arena, None), "all disks are the same");
    let suspect = arena.cluster.nodes()[1].clone();
    suspect.disk().set_sync_takes(SyncTakes::UpTo(300));
    until_all_blame(&arena, Some(&suspect), &suspect).await;
    suspect.disk().set_sync_takes(SyncTakes::Usual);
    until_all_blame(&arena, None, &suspect).await;
    *arena.ends.lock() = Instant::now();
    for client in running {
        client.await.expect("clients don't panic");
    }
}

#[test]
fn the_node_with_the_slow_disk_is_known_to_all_and_forgiven() {
    for seed in 1..=2 {
        let plan = plan(seed);
        in_simulation(&plan, one_slow_disk(&plan));
    }
}
