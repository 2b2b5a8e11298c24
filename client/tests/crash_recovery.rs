//! No acknowledged write is lost when all nodes are killed at once, round after round.
//!
//! `ANNULUS_CRASH_ROUNDS` sets the number of rounds, 20 by default.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod dev_process;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annulus_client::{Client, ClientOptions, Context, GetOptions, Key, PutOptions};
use dev_process::{DevRing, PATIENCE, eventually, free_base_port};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::task::JoinSet;

const NODES: u16 = 3;
const WRITERS: u32 = 32;
const DEFAULT_ROUNDS: u32 = 20;

/// The nodes are killed when so many writes of the round are acknowledged, with more under way.
const WRITES_A_ROUND: usize = 500;

/// Keys that are checked at once.
const CHECKS_AT_ONCE: usize = 32;

/// What was acknowledged. A value is a number that grows with each write of its key.
#[derive(Default)]
struct Acknowledged {
    /// The highest acknowledged value of each key.
    highest: HashMap<String, u64>,
    this_round: usize,
}

type Ledger = Arc<Mutex<Acknowledged>>;

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_when_all_nodes_are_killed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let base_port = free_base_port(NODES);
    let ledger = Ledger::default();
    for round in 1..=rounds() {
        let ring = DevRing::start_at(dir.path(), base_port, NODES, &[]);
        let client = connect(&ring).await;
        check(&client, &ledger, round).await;
        write_until_killed(ring, &client, &ledger, round).await;
    }
    let ring = DevRing::start_at(dir.path(), base_port, NODES, &[]);
    check(&connect(&ring).await, &ledger, rounds() + 1).await;
    assert_eq!(ring.stop(), 0);
}

fn rounds() -> u32 {
    std::env::var("ANNULUS_CRASH_ROUNDS").map_or(DEFAULT_ROUNDS, |rounds| {
        rounds.parse().expect("ANNULUS_CRASH_ROUNDS is a number")
    })
}

async fn connect(ring: &DevRing) -> Client {
    let endpoints: Vec<String> = (1..=NODES).map(|node| ring.endpoint(node)).collect();
    let options = ClientOptions {
        timeout: Duration::from_secs(10),
        ..ClientOptions::default()
    };
    Client::connect(endpoints, options).await.expect("connect")
}

/// Starts the writers, waits for their acknowledgements, kills everything under their hands.
async fn write_until_killed(ring: DevRing, client: &Client, ledger: &Ledger, round: u32) {
    ledger.lock().this_round = 0;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (client, ledger, stop) = (client.clone(), Arc::clone(ledger), Arc::clone(&stop));
        writers.spawn(write(client, ledger, stop, round, writer));
    }
    let counted = Arc::clone(ledger);
    tokio::task::spawn_blocking(move || {
        eventually("enough writes are acknowledged", || {
            counted.lock().this_round >= WRITES_A_ROUND
        });
        ring.kill_everything();
    })
    .await
    .expect("kill the ring");
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.expect("a writer ends by itself");
    }
}

/// Writes a new key, then one that is written over and over, until told to stop. A failed write
/// counts as nothing: it may or may not have happened.
async fn write(client: Client, ledger: Ledger, stop: Arc<AtomicBool>, round: u32, writer: u32) {
    let again = format!("again-{writer}");
    let mut value = u64::from(round) * 1_000_000;
    let mut seen: Option<Context> = None;
    while !stop.load(Ordering::Relaxed) {
        value += 1;
        let once = format!("once-{writer}-{value}");
        if put(&client, &once, value, None).await.is_some() {
            acknowledge(&ledger, once, value);
        }
        if let Some(context) = put(&client, &again, value, seen.clone()).await {
            acknowledge(&ledger, again.clone(), value);
            seen = Some(context);
        }
    }
}

async fn put(client: &Client, key: &str, value: u64, context: Option<Context>) -> Option<Context> {
    let key = Key::new(key.to_owned()).unwrap();
    let timeout = Some(Duration::from_secs(2));
    let options = PutOptions {
        context,
        timeout,
        ..PutOptions::default()
    };
    client
        .put(&key, value.to_string(), &options)
        .await
        .ok()?
        .context
}

fn acknowledge(ledger: &Ledger, key: String, value: u64) {
    let mut ledger = ledger.lock();
    ledger.this_round += 1;
    ledger.highest.insert(key, value);
}

/// Every key holds its highest acknowledged value, or one that was written after it.
async fn check(client: &Client, ledger: &Ledger, round: u32) {
    let expected: Vec<(String, u64)> = ledger
        .lock()
        .highest
        .iter()
        .map(|(key, value)| (key.clone(), *value))
        .collect();
    let reads = expected.iter().map(|(key, value)| async move {
        let found = highest(client, key).await;
        (found < Some(*value)).then(|| format!("{key}: {value} was acknowledged, found {found:?}"))
    });
    let checks = stream::iter(reads).buffer_unordered(CHECKS_AT_ONCE);
    let lost: Vec<String> = checks
        .filter_map(|lost| async move { lost })
        .collect()
        .await;
    println!(
        "round {round}: {} keys checked, {} lost",
        expected.len(),
        lost.len()
    );
    assert!(
        lost.is_empty(),
        "acknowledged writes are lost before round {round}: {lost:#?}"
    );
}

async fn highest(client: &Client, key: &str) -> Option<u64> {
    let key = Key::new(key.to_owned()).unwrap();
    let options = GetOptions {
        timeout: Some(PATIENCE),
        ..GetOptions::default()
    };
    let reading = client.get(&key, &options).await.expect("read at quorum");
    let number = |text: &[u8]| std::str::from_utf8(text).unwrap().parse::<u64>().unwrap();
    reading
        .values
        .iter()
        .map(|sibling| number(&sibling.value))
        .max()
}
