//! `annulus bench`: how fast a cluster reads and writes. The driver: it prepares keys, runs workers
//! for a time, and sums up.

mod keys;
mod report;
mod server_cpu;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use annulus_client::{Client, Consistency, KeyspaceName, RetryPolicy, Routing};
use anyhow::{Context, bail};
use clap::ValueEnum;
use futures::StreamExt;
use futures::stream;
use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::args::Connection;
use crate::bench::keys::Keys;
use crate::bench::report::{Report, Run};
use crate::bench::server_cpu::ServerCpu;
use crate::bench::worker::{Job, Tally, Worker};
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::{clock, text};

/// Bounds of what a benchmark may be asked to do.
const MAX_CONCURRENCY: i64 = 4096;
const MAX_KEYS: i64 = 10_000_000;
const MAX_DURATION: Duration = Duration::from_secs(3600);
const MAX_VALUE_BYTES: usize = 16 << 20;

/// Keys that are written at once while the benchmark is prepared.
const PREPARE_AT_ONCE: usize = 64;

/// Sums that workers share, so that a thousand of them neither wait for one nor fill the memory.
const TALLIES: usize = 16;

/// Measures reads and writes over gRPC.
///
/// Each worker sends its next request when the last one is answered (a closed loop). Keys are drawn
/// evenly; a worker writes only its own keys and gives their contexts back, so no siblings arise.
/// The keys get a new prefix with each start and stay in the cluster: delete the data afterwards,
/// or use a ring made for it.
///
/// Examples:
///   annulus bench
///   annulus bench --mix get --concurrency 1,64,256 --duration 10s
///   annulus bench --mix mixed --read-consistency one -o json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Bench {
    /// What is measured.
    #[arg(long, value_enum, default_value_t = Mix::Mixed)]
    mix: Mix,

    /// Requests under way at the same time; one run for each number of the list.
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "1,64,256",
        value_parser = clap::value_parser!(u16).range(1..=MAX_CONCURRENCY)
    )]
    concurrency: Vec<u16>,

    /// How long each run lasts, after the warm-up; an hour at most.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = text::duration)]
    duration: Duration,

    /// How long each run warms up before it is measured.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = text::duration)]
    warmup: Duration,

    /// Ends a run after so many requests, if that comes before its time is over.
    #[arg(long, value_name = "N")]
    operations: Option<u64>,

    /// The size of values.
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = text::bytes)]
    value_size: usize,

    /// The number of keys; at least as many as there are workers.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=MAX_KEYS))]
    keys: u32,

    /// The keyspace.
    #[arg(long, value_name = "NAME", default_value = "kv", value_parser = KeyspaceName::new)]
    keyspace: KeyspaceName,

    /// Replicas that must answer a read; the keyspace's default by default.
    #[arg(long, value_name = "LEVEL")]
    read_consistency: Option<Consistency>,

    /// Replicas that must hold a write; the keyspace's default by default.
    #[arg(long, value_name = "LEVEL")]
    write_consistency: Option<Consistency>,

    /// Where requests go: straight to an owner of the key, or all to the endpoint.
    #[arg(long, value_enum, default_value_t = Via::Owner)]
    via: Via,

    /// Connections to each node.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    connections: u8,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mix {
    /// Writes only.
    Put,
    /// Reads only.
    Get,
    /// Half of each.
    Mixed,
}

/// Where requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Via {
    /// Straight to an owner.
    Owner,
    /// To the endpoint.
    Endpoint,
}

pub(crate) async fn run(
    connection: &Connection,
    format: Format,
    command: Bench,
) -> anyhow::Result<Exit> {
    if command.duration > MAX_DURATION || command.warmup > MAX_DURATION {
        bail!("a run lasts an hour at most");
    }
    if command.value_size > MAX_VALUE_BYTES {
        bail!(
            "a value is {} at most",
            text::show_bytes(MAX_VALUE_BYTES as u64)
        );
    }
    let client = connect(connection, &command).await?;
    let ring = client.ring().await?;
    let cpu = ServerCpu::new(&ring)?;
    let most_workers = command.concurrency.iter().copied().max().unwrap_or(1);
    let keys = Keys::new(command.keys.max(u32::from(most_workers)), clock::random());
    let job = Arc::new(Job::new(&command, client, keys));
    if command.mix != Mix::Put {
        prepare(&job).await?;
    }
    let mut report = Report::new(&command);
    for concurrency in &command.concurrency {
        eprintln!(
            "measuring with {concurrency} at once for {:?}",
            command.duration
        );
        report
            .runs
            .extend(measure(&command, &job, &cpu, *concurrency).await);
    }
    output::print(format, &report, Report::table)?;
    let failed = report.runs.iter().all(|run| run.operations == 0);
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// A client that does not repeat what fails, so that failures are counted.
async fn connect(connection: &Connection, command: &Bench) -> anyhow::Result<Client> {
    let routing = match command.via {
        Via::Owner => Routing::Owner,
        Via::Endpoint => Routing::Endpoint,
    };
    let mut options = connection.options(routing);
    options.retry = RetryPolicy {
        max_attempts: 1,
        ..RetryPolicy::default()
    };
    options.attempt_timeout = options.timeout;
    options.connections_per_node = usize::from(command.connections);
    Ok(Client::connect([connection.endpoint().await], options).await?)
}

/// Writes every key once, so that there is something to read.
async fn prepare(job: &Arc<Job>) -> anyhow::Result<()> {
    eprintln!("writing {} keys", job.keys.len());
    let writes = (0..job.keys.len()).map(|key| {
        let job = Arc::clone(job);
        async move { job.put(key, key as usize).await }
    });
    let mut writes = stream::iter(writes).buffer_unordered(PREPARE_AT_ONCE);
    while let Some(result) = writes.next().await {
        result.context("write the keys to be read")?;
    }
    Ok(())
}

/// One run: warms up, then measures.
async fn measure(command: &Bench, job: &Arc<Job>, cpu: &ServerCpu, concurrency: u16) -> Vec<Run> {
    run_workers(job, concurrency, command.warmup, None).await;
    let (cpu_before, began) = (cpu.seconds().await, clock::now());
    let tally = run_workers(job, concurrency, command.duration, command.operations).await;
    let (took, cpu_after) = (began.elapsed(), cpu.seconds().await);
    let cpu_seconds = cpu_before
        .zip(cpu_after)
        .map(|(before, after)| after - before);
    report::runs(concurrency, &tally, took, cpu_seconds)
}

/// Lets so many workers run for a time; sums up what they did.
async fn run_workers(
    job: &Arc<Job>,
    concurrency: u16,
    time: Duration,
    operations: Option<u64>,
) -> Tally {
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    job.allow(operations);
    let tallies: Vec<_> = (0..TALLIES)
        .map(|_| Arc::new(Mutex::new(Tally::new())))
        .collect();
    for number in 0..concurrency {
        let worker = Worker {
            job: Arc::clone(job),
            number: number.into(),
            workers: concurrency.into(),
            random: clock::random(),
            tally: Arc::clone(&tallies[usize::from(number) % TALLIES]),
        };
        tasks.spawn(worker.run(stop.clone()));
    }
    tasks.close();
    tokio::select! {
        () = sleep(time) => {}
        () = tasks.wait() => {}
    }
    stop.cancel();
    tasks.wait().await;
    let mut sum = Tally::new();
    for tally in &tallies {
        sum.add(&tally.lock());
    }
    sum
}
