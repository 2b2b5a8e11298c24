//! Whether moves keep to their limit: bytes a second as the network counts them, not as nodes say.
//!
//! A node joins, and all that it takes passes its own port; then it leaves, and all that it gives does. There are no
//! clients meanwhile. The limit is changed while moves are under way.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use annulus_ring::{Node, Placement};
use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::fault::NodeOrdinal;
use crate::filling::fill;
use crate::isolation::Isolation;
use crate::network::{self, Traffic};
use crate::reshape::{Reshaped, reshape};
use crate::ring::Ring;
use crate::site::{Engine, Settings};
use crate::{admin, founding};

/// The ring at first; one more joins.
const MEMBERS: usize = 3;

const JOINS: NodeOrdinal = MEMBERS;

/// Bytes a second that are tried, one after the other, and for how many seconds each is measured: so many that a page
/// more or less makes little difference.
const LIMITS: [(u64, u64); 3] = [(5_000_000, 8), (20_000_000, 4), (50_000_000, 3)];

/// From a changed limit until it is measured: pages that were asked for before are there by then.
const SETTLES: Duration = Duration::from_secs(1);

/// Longer than nodes go on giving way to clients that are gone.
const NO_CLIENTS: Duration = Duration::from_secs(12);

/// Half of the copies of one zone move. While the limits are measured that takes 350 MB; there are 800 on each node.
const KEYS: u64 = 200_000;

const VALUE_BYTES: usize = 4_000;

/// Of the limit.
const TOLERANCE: f64 = 0.10;

/// What a run is about.
#[derive(Debug, Clone)]
pub struct Throttle {
    /// For logs and data.
    pub dir: PathBuf,
}

/// Carries out a run, and prints its table. Whether every limit was kept.
pub async fn run(terms: &Throttle, isolation: &Isolation) -> Result<bool> {
    ensure!(
        *isolation == Isolation::Namespaces,
        "bytes are counted at the nodes' own ports, which needs namespaces"
    );
    let settings = Settings {
        spares: 1,
        disk_mib: 4096,
        ..Settings::usual(Engine::Rocksdb)
    };
    let ring = Ring::start(&terms.dir, isolation, (MEMBERS + 1, 1), &settings).await?;
    ring.arena.closed[JOINS].store(true, Ordering::Relaxed);
    let written = fill(&ring, KEYS, VALUE_BYTES).await;
    ring.note(&format!(
        "{written} keys of {VALUE_BYTES} bytes are written"
    ));
    sleep(NO_CLIENTS).await; // paced: nodes notice that there is nobody to give way to any more
    let mut members = ring.placement.nodes().to_vec();
    let stays = members.clone();
    members.push(founding::member(&ring.site, JOINS).await?);

    println!(
        "{:24} {:>10} {:>13} {:>6}",
        "NODE-4", "LIMIT MB/S", "MEASURED MB/S", "RATIO"
    );
    set_limit(&ring, LIMITS[0].0).await?;
    let joining = begin(&ring, ring.placement.clone(), members);
    let taken = measure(&ring, "joins, and takes", |traffic| traffic.received).await?;
    let joined = joining.await.context("the change panicked")??;
    ring.note(&format!("it joined by {} moves", joined.moves));

    set_limit(&ring, LIMITS[0].0).await?;
    let leaving = begin(&ring, joined.placement, stays);
    let given = measure(&ring, "leaves, and gives", |traffic| traffic.sent).await?;
    let left = leaving.await.context("the change panicked")??;
    ring.note(&format!("it left by {} moves", left.moves));
    ring.stop().await;
    Ok(taken && given && ring.findings().is_empty())
}

fn begin(ring: &Arc<Ring>, from: Placement, members: Vec<Node>) -> JoinHandle<Result<Reshaped>> {
    let ring = ring.clone();
    tokio::spawn(async move { reshape(&ring, &from, &members).await })
}

/// Whether the node's port saw what each limit allows, about.
async fn measure(ring: &Ring, what: &str, counted: impl Fn(Traffic) -> u64) -> Result<bool> {
    let traffic = || network::traffic(JOINS).map(&counted);
    let begun = traffic()?;
    let (first, _) = LIMITS[0];
    while traffic()? - begun < first / 2 {
        sleep(SETTLES / 10).await;
    }
    let mut kept = true;
    for (limit, seconds) in LIMITS {
        set_limit(ring, limit).await?;
        sleep(SETTLES).await; // paced: the limit before it does not count any more
        let (began, before) = (Instant::now(), traffic()?);
        sleep(Duration::from_secs(seconds)).await; // paced: so long is measured
        let passed = (traffic()? - before) as f64;
        let rate = passed / began.elapsed().as_secs_f64();
        let ratio = rate / limit as f64;
        let (limit_mb, rate_mb) = (limit / 1_000_000, rate / 1e6);
        println!("{what:24} {limit_mb:10} {rate_mb:13.2} {ratio:6.3}");
        kept &= (ratio - 1.0).abs() <= TOLERANCE;
    }
    Ok(kept)
}

async fn set_limit(ring: &Ring, bytes_per_second: u64) -> Result<()> {
    for node in 0..ring.size() {
        admin::set_stream_rate(&ring.site.addresses(node).admin, bytes_per_second).await?;
    }
    Ok(())
}
