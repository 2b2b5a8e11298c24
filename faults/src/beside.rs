//! What clients notice of background work: the 99th percentile of their requests' times while it goes on, as a
//! ratio to when nothing does, in one run.
//!
//! An open loop: requests begin at their times, whatever became of those before, and their time counts from then. So
//! a node that stands still is not spared the requests that it would have got meanwhile.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::fault::NodeOrdinal;
use crate::filling::{fill, name_of};
use crate::isolation::Isolation;
use crate::reshape::reshape;
use crate::ring::Ring;
use crate::site::{Engine, Settings};
use crate::workload::ask::{Ask, What};
use crate::{admin, founding};

const NODES: usize = 3;

/// It joins the ring, and leaves it.
const SPARE: NodeOrdinal = NODES;

/// Requests under way at most; each of these tasks has its own turn.
const ASKERS: u64 = 32;

/// With their values some 200 MB on each node: a scrub takes 20 s at its usual rate.
const KEYS: u64 = 100_000;

const VALUE_BYTES: usize = 2_000;

/// The node that is away, so that hints are kept for it.
const AWAY: NodeOrdinal = 1;

/// It is away for so many phases: to deliver what was kept then takes long enough for a percentile.
const AWAY_FOR: u32 = 3;

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Scrubs are looked for twice a minute, and each vnode is due once a minute.
const SCRUBS_BEGIN_WITHIN: Duration = Duration::from_secs(180);

/// Within this time some vnode is done while any is scrubbed.
const SCRUB_PAUSE: Duration = Duration::from_secs(2);

/// What goes on beside clients' requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not measured.
    Between,
    Idle,
    Comparisons,
    Hints,
    Moves,
    Scrubs,
}

impl Phase {
    const MEASURED: [Self; 5] = [
        Self::Idle,
        Self::Comparisons,
        Self::Hints,
        Self::Moves,
        Self::Scrubs,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Between => "between",
            Self::Idle => "nothing",
            Self::Comparisons => "comparing all copies, again and again",
            Self::Hints => "delivering hints",
            Self::Moves => "moving copies to a node and back",
            Self::Scrubs => "scrubbing",
        }
    }
}

/// What a run is about.
#[derive(Debug, Clone)]
pub struct Beside {
    /// How long each phase lasts.
    pub lasts: Duration,
    /// Requests in a second; half of them writes.
    pub rate: u64,
    /// For logs and data.
    pub dir: PathBuf,
}

/// Carries out a run, and prints its table.
pub async fn run(terms: &Beside) -> Result<()> {
    let isolation = Isolation::Loopback {
        why: "the disk is to be a real one".to_owned(),
    };
    let mut settings = Settings {
        spares: 1,
        ..Settings::usual(Engine::Rocksdb)
    };
    let ring = Ring::start(&terms.dir, &isolation, (NODES + 1, 1), &settings).await?;
    ring.arena.closed[SPARE].store(true, Ordering::Relaxed);
    let written = fill(&ring, KEYS, VALUE_BYTES).await;
    ring.note(&format!("{written} keys are written"));
    let load = Load::start(&ring, terms.rate);
    sleep(terms.lasts).await; // paced: caches and compactions come to what they are
    load.measure(Phase::Idle, terms.lasts).await;

    load.enter(Phase::Comparisons);
    let until = Instant::now() + terms.lasts;
    while Instant::now() < until {
        admin::compare_all(&ring.site, &ring.placement).await?;
        sleep(LOOK_EVERY).await;
    }
    load.enter(Phase::Between);

    ring.arena.closed[AWAY].store(true, Ordering::Relaxed);
    ring.process(AWAY).lock().await.kill().await?;
    sleep(AWAY_FOR * terms.lasts).await; // paced: what is kept for it gathers
    ring.process(AWAY).lock().await.start()?;
    ring.all_serve(None).await;
    ring.arena.closed[AWAY].store(false, Ordering::Relaxed);
    load.enter(Phase::Hints);
    let until = Instant::now() + terms.lasts;
    while ring.hints_for(AWAY).await.is_none_or(|kept| kept > 0) && Instant::now() < until {
        sleep(LOOK_EVERY).await;
    }
    load.enter(Phase::Between);
    sleep(terms.lasts / 2).await; // paced: what the return has left behind comes to its end
    load.measure(Phase::Idle, terms.lasts).await;

    load.enter(Phase::Moves);
    let moves = join_and_leave(&ring).await?;
    load.enter(Phase::Between);
    ring.note(&format!("a node has joined and left by {moves} moves"));

    settings.scrubs = true;
    for node in 0..NODES {
        ring.process(node).lock().await.stop().await?;
        ring.site.configure(node, &settings)?;
        ring.process(node).lock().await.start()?;
        ring.all_serve(None).await;
    }
    // The restart has emptied caches: what nothing costs is measured again, between two rounds of scrubs.
    await_scrubs(&ring, true).await?;
    await_scrubs(&ring, false).await?;
    load.measure(Phase::Idle, terms.lasts).await;
    await_scrubs(&ring, true).await?;
    load.measure(Phase::Scrubs, terms.lasts).await;
    let table = load.stop().await?;
    ring.stop().await;
    println!("{table}");
    Ok(())
}

/// How many moves that took.
async fn join_and_leave(ring: &Ring) -> Result<usize> {
    let stays = ring.placement.nodes().to_vec();
    let mut members = stays.clone();
    members.push(founding::member(&ring.site, SPARE).await?);
    let joined = reshape(ring, &ring.placement, &members).await?;
    let left = reshape(ring, &joined.placement, &stays).await?;
    Ok(joined.moves + left.moves)
}

/// Waits until vnodes are scrubbed on any node, or on none for a while.
async fn await_scrubs(ring: &Ring, wanted: bool) -> Result<()> {
    let until = Instant::now() + SCRUBS_BEGIN_WITHIN;
    let mut before = scrubbed(ring).await;
    loop {
        anyhow::ensure!(
            Instant::now() < until,
            "scrubs do not begin or end within {SCRUBS_BEGIN_WITHIN:?}"
        );
        sleep(SCRUB_PAUSE).await;
        let now = scrubbed(ring).await;
        if (now != before) == wanted {
            return Ok(());
        }
        before = now;
    }
}

async fn scrubbed(ring: &Ring) -> u64 {
    let mut vnodes = 0;
    for node in 0..ring.size() {
        vnodes += admin::scrubbed_vnodes(&ring.site.addresses(node).admin).await;
    }
    vnodes
}

/// Requests, and how long each took.
struct Load {
    phase: Arc<AtomicUsize>,
    times: Arc<Mutex<[Vec<Duration>; Phase::MEASURED.len()]>>,
    failed: Arc<AtomicUsize>,
    ring: Arc<Ring>,
    tasks: JoinSet<()>,
}

impl Load {
    fn start(ring: &Arc<Ring>, rate: u64) -> Self {
        let mut load = Self {
            phase: Arc::new(AtomicUsize::new(usize::MAX)),
            times: Arc::default(),
            failed: Arc::default(),
            ring: ring.clone(),
            tasks: JoinSet::new(),
        };
        let turn = Duration::from_micros(1_000_000 * ASKERS / rate.max(1));
        for asker in 0..ASKERS {
            let (phase, times, failed) =
                (load.phase.clone(), load.times.clone(), load.failed.clone());
            let ring = ring.clone();
            load.tasks.spawn(async move {
                sleep(turn.mul_f64(asker as f64 / ASKERS as f64)).await;
                let mut turns = interval(turn);
                for number in 0.. {
                    let began = turns.tick().await;
                    if ring.arena.stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let entered = phase.load(Ordering::Relaxed);
                    let key = (asker * 7919 + number * 104_729) % KEYS;
                    let put = number.is_multiple_of(2);
                    let put = put.then(|| format!("a{asker}n{number}"));
                    let is_ok = ask(&ring, key, asker + number, put).await;
                    if let Some(times) = times.lock().get_mut(entered) {
                        times.push(began.elapsed());
                        failed.fetch_add(usize::from(!is_ok), Ordering::Relaxed);
                    }
                }
            });
        }
        load
    }

    /// What begins from now on belongs to that phase.
    fn enter(&self, phase: Phase) {
        let at = Phase::MEASURED
            .iter()
            .position(|measured| *measured == phase);
        self.phase
            .store(at.unwrap_or(usize::MAX), Ordering::Relaxed);
        self.ring.note(phase.name());
    }

    async fn measure(&self, phase: Phase, lasts: Duration) {
        self.enter(phase);
        sleep(lasts).await; // paced: so long is measured
        self.enter(Phase::Between);
    }

    async fn stop(mut self) -> Result<String> {
        self.ring.arena.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("an asker panicked")?;
        }
        let mut times = std::mem::take(&mut *self.times.lock());
        let mut table = format!(
            "{:38} {:>8} {:>8} {:>8} {:>9}\n",
            "BESIDE THEM", "REQUESTS", "P50 MS", "P99 MS", "P99 RATIO"
        );
        let mut usual = None;
        for (phase, times) in Phase::MEASURED.iter().zip(&mut times) {
            times.sort_unstable();
            let (p50, p99) = (percentile(times, 50), percentile(times, 99));
            let usual = *usual.get_or_insert(p99);
            writeln!(
                table,
                "{:38} {:8} {p50:8.2} {p99:8.2} {:9.2}",
                phase.name(),
                times.len(),
                p99 / usual
            )?;
        }
        let failed = self.failed.load(Ordering::Relaxed);
        Ok(format!("{table}{failed} requests failed"))
    }
}

/// In milliseconds, of sorted times.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted
        .get(at)
        .map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
}

/// Writes a value of that name, or reads, through the node whose turn it is. Whether it succeeded.
async fn ask(ring: &Ring, key: u64, turn: u64, put: Option<String>) -> bool {
    let what = put.map_or(What::Get, |name| What::Put {
        name,
        filling: VALUE_BYTES,
    });
    let ask = Ask::plain(name_of(key), what);
    let node = ring.arena.open_in_turn(turn);
    ring.arena.ask(node, &ask).await.is_ok()
}
