//! A node is away for long under load, and comes back: what others kept for it is delivered; or, where nothing was
//! kept, comparing the copies finds what it missed.
//!
//! Every write has a key of its own and nobody reads, so no read repairs anything: what the copies hold in the
//! end, hints or comparisons have brought there. States are read from each owner by itself and compared byte by byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annulus_checker::{Attempt, KeyName, Operation, Record, RequestName};
use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::fault::NodeOrdinal;
use crate::isolation::Isolation;
use crate::judge::judge_file;
use crate::ring::Ring;
use crate::site::{Engine, Settings};
use crate::workload::ask::{Ask, What};
use crate::{copies, count};

const WRITERS: u64 = 8;

/// Keys whose copies are read at a time.
const READ_AT_ONCE: usize = 500;

/// Load before the outage, so that there is something to be away from.
const WARM_UP: Duration = Duration::from_secs(5);

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often the copies are compared: that costs the nodes something.
const COMPARE_EVERY: Duration = Duration::from_secs(3);

/// All hints are delivered within this time of the node's return.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);

/// Copies are the same within this time of the load's end.
const SAME_WITHIN: Duration = Duration::from_secs(300);

/// The node that is away.
const AWAY: NodeOrdinal = 1;

/// What a run is about.
#[derive(Debug, Clone)]
pub struct Outage {
    /// It decides the ring.
    pub seed: u64,
    /// How many nodes, 3 or more.
    pub nodes: usize,
    /// How long the node is away.
    pub lasts: Duration,
    /// Writes in a second.
    pub rate: u64,
    /// Whether nodes keep hints.
    pub keeps_hints: bool,
    /// For the history, logs and configurations.
    pub dir: std::path::PathBuf,
}

/// Carries out a run. Whether all promises were kept; what happened is printed.
pub async fn run(terms: &Outage, isolation: &Isolation) -> Result<bool> {
    let settings = Settings {
        keeps_hints: terms.keeps_hints,
        small_buffers: true,
        ..Settings::usual(Engine::Rocksdb)
    };
    let shape = (terms.nodes, terms.seed);
    let ring = Ring::start(&terms.dir, isolation, shape, &settings).await?;
    let writers = Writers::start(&ring, terms.rate);
    sleep(WARM_UP).await; // paced: the load's own time
    ring.arena.closed[AWAY].store(true, Ordering::Relaxed);
    ring.process(AWAY).lock().await.kill().await?;
    ring.note(&format!("node-{} is away for {:?}", AWAY + 1, terms.lasts));
    sleep(terms.lasts).await; // paced: how long the node is away
    ring.process(AWAY).lock().await.start()?;
    ring.all_serve(None).await;
    let returned = Instant::now();
    ring.arena.closed[AWAY].store(false, Ordering::Relaxed);
    ring.note(&format!("node-{} is back", AWAY + 1));
    if terms.keeps_hints {
        await_delivery(&ring, returned).await;
    }
    let written = writers.stop().await?;
    ring.note(&format!("{written} writes were acknowledged"));
    compare(&ring, returned).await?;
    ring.stop().await;
    conclude(&ring)
}

/// Until nobody keeps anything for the node any more.
async fn await_delivery(ring: &Ring, returned: Instant) {
    let mut most = 0;
    loop {
        let Some(kept) = ring.hints_for(AWAY).await else {
            ring.found("a node does not say what it keeps");
            return;
        };
        most = most.max(kept);
        let took = returned.elapsed();
        if kept == 0 {
            ring.note(&format!(
                "{most} hints were delivered {:.1} s after the node's return, under load",
                took.as_secs_f64()
            ));
            return;
        }
        if took > DELIVERED_WITHIN {
            ring.found(format!("{kept} hints of {most} are left after {took:?}"));
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What the owners hold of all keys.
#[derive(Debug, Default, PartialEq, Eq)]
struct Comparison {
    keys: usize,
    different: usize,
    /// One of those, for people.
    example: Option<String>,
}

/// Until all owners hold the same bytes.
async fn compare(ring: &Ring, returned: Instant) -> Result<()> {
    let (keys, began) = (ring.arena.recording.keys(), Instant::now());
    loop {
        let found = look(ring, &keys).await?;
        let since = returned.elapsed().as_secs_f64();
        ring.note(&format!(
            "{} of {} keys differ {since:.1} s after the node's return",
            found.different, found.keys
        ));
        if found.different == 0 {
            return count_all(ring, keys.len()).await;
        }
        if began.elapsed() > SAME_WITHIN {
            ring.found(format!(
                "{} keys still differ, {:?} after the load's end: {:?}",
                found.different,
                began.elapsed(),
                found.example
            ));
            return Ok(());
        }
        sleep(COMPARE_EVERY).await;
    }
}

/// The same from outside: what the owners list through the admin API.
async fn count_all(ring: &Ring, written: usize) -> Result<()> {
    let count = count::count(ring).await?;
    ring.note(&format!(
        "counted through the admin API: {} keys, {} not the same on all owners",
        count.keys, count.different
    ));
    if count.different > 0 || count.keys > written {
        ring.found(format!("{count:?} of {written} keys written"));
    }
    Ok(())
}

async fn look(ring: &Ring, keys: &[KeyName]) -> Result<Comparison> {
    let mut comparison = Comparison::default();
    for chunk in keys.chunks(READ_AT_ONCE) {
        let nodes = ring.placement.nodes().iter();
        let columns = nodes.map(|node| async move {
            let owns = |key: &&KeyName| copies::owners(&ring.placement, key).contains(&node.id);
            let own: Vec<KeyName> = chunk.iter().filter(owns).cloned().collect();
            let read = copies::read(&ring.placement, node.id, &own).await?;
            Ok::<_, anyhow::Error>(own.into_iter().zip(read).collect::<Vec<_>>())
        });
        let columns: Vec<_> = stream::iter(columns).buffer_unordered(2).collect().await;
        let mut held = std::collections::BTreeMap::<KeyName, Vec<_>>::new();
        for column in columns {
            for (key, copy) in column? {
                let bytes = copy.map(|state| state.map(|state| state.encode()));
                held.entry(key).or_default().push(bytes);
            }
        }
        for (key, copies) in held {
            comparison.keys += 1;
            let is_same = copies.windows(2).all(|pair| pair[0] == pair[1]);
            if !is_same || copies.iter().any(Result::is_err) {
                comparison.different += 1;
                comparison
                    .example
                    .get_or_insert(format!("{key}: {copies:?}"));
            }
        }
    }
    Ok(comparison)
}

fn conclude(ring: &Ring) -> Result<bool> {
    let path = ring.arena.recording.path().to_owned();
    ring.arena.recording.flush()?;
    let judgement = judge_file(&path, false)?;
    println!("\n{}", judgement.report);
    let findings = ring.findings();
    for what in &findings {
        println!("FOUND: {what}");
    }
    Ok(judgement.violations == 0 && findings.is_empty())
}

/// Tasks that write, each write to a key of its own.
struct Writers {
    ring: Arc<Ring>,
    tasks: JoinSet<()>,
    acknowledged: Arc<AtomicU64>,
}

impl Writers {
    fn start(ring: &Arc<Ring>, rate: u64) -> Self {
        let (mut tasks, acknowledged) = (JoinSet::new(), Arc::new(AtomicU64::new(0)));
        let pause = Duration::from_micros(1_000_000 * WRITERS / rate.max(1));
        for writer in 0..WRITERS {
            let (ring, acknowledged) = (ring.clone(), acknowledged.clone());
            tasks.spawn(async move {
                let mut turns = tokio::time::interval(pause);
                for number in 0.. {
                    turns.tick().await;
                    if ring.arena.stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    if write(&ring, writer, number).await {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        Self {
            ring: ring.clone(),
            tasks,
            acknowledged,
        }
    }

    /// Ends them; how many writes were acknowledged.
    async fn stop(mut self) -> Result<u64> {
        self.ring.arena.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a writer panicked")?;
        }
        Ok(self.acknowledged.load(Ordering::Relaxed))
    }
}

/// Whether it was acknowledged.
async fn write(ring: &Ring, writer: u64, number: u64) -> bool {
    let name = format!("w{writer}n{number}");
    let keyspace = if number.is_multiple_of(2) {
        "kv"
    } else {
        "data"
    };
    let key = KeyName::new(keyspace, name.clone());
    let ask = Ask {
        request: Some(RequestName {
            client: writer + 1,
            sequence: number,
        }),
        ..Ask::plain(key, What::Put { name, filling: 100 })
    };
    let arena = &ring.arena;
    arena.recording.uses(&ask.key);
    let node = arena.open_in_turn(writer + number);
    let invoked_at_us = arena.clock.now_us();
    let answer = arena.ask(node, &ask).await;
    let is_ok = answer.is_ok();
    let attempt = Attempt {
        invoked_at_us,
        completed_at_us: Some(arena.clock.now_us()),
        outcome: answer.outcome,
    };
    let operation = Operation {
        id: arena.recording.number(),
        client: writer,
        session: writer,
        policy: ask.policy(),
        kind: ask.kind(),
        consistency: ask.consistency(),
        request: ask.request,
        key: ask.key,
        attempts: vec![attempt],
    };
    arena.recording.add(&Record::Operation(operation));
    is_ok
}
