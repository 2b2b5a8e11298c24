//! Load whose every answer is written down, for the checker to judge.
//!
//! Each client is a session: requests one after another, at times of their own whatever became of
//! those before (an open loop, so that a node that stands still is not spared), and not at once with the others. A request that was
//! rejected is tried again through another node, as an attempt of the same operation; one that may
//! have happened is not, unless it reads.

mod request;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use annulus_checker::{
    Attempt, History, KeyName, Operation, OperationId, Outcome, Record, Report, Tolerance, ValueId,
    check_all,
};
use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::Client;
use serde_json::Value;
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, interval_at, sleep},
};

use crate::{
    conditions::eventually,
    kvcluster::{Endpoint, KvCluster},
    recorded::request::{PATIENCE, Reply, Request, What},
    workload::Refusal,
};

/// The code of a failure without an answer.
pub const CONNECTION: &str = "connection";
const CLIENTS: u64 = 12;
const KEYS: u64 = 150;
const MAX_ATTEMPTS: usize = 6;
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How often clients look where the nodes are, as a Service would tell them.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What clients were told, all together.
#[derive(Debug, Default)]
pub struct Told {
    /// Attempts, each a request over the network.
    pub attempts: usize,
    /// Attempts that failed, by the code of their error.
    pub refusals: BTreeMap<String, usize>,
    /// The first attempt of each code that the server did not call retryable.
    pub not_retryable: BTreeMap<String, Refusal>,
    operations: Vec<Operation>,
    /// When an operation was due, and how long after that it was answered.
    times: Vec<(Duration, Duration)>,
}

impl Told {
    /// Attempts that a server refused; those that met no server are the network's.
    pub fn refused(&self) -> usize {
        let by_servers = self.refusals.iter();
        let by_servers = by_servers.filter(|(code, _)| *code != CONNECTION);
        by_servers.map(|(_, count)| count).sum()
    }

    /// So many of 100 operations that were due in that time took no longer.
    pub fn percentile(&self, percent: usize, from: Duration, to: Duration) -> Duration {
        let due = self.times.iter().filter(|(at, _)| (from..to).contains(at));
        let mut took: Vec<Duration> = due.map(|(_, took)| *took).collect();
        took.sort_unstable();
        let place = (took.len() * percent / 100).min(took.len().saturating_sub(1));
        took.get(place).copied().unwrap_or_default()
    }

    /// Judges what was recorded by the rules of the checker.
    pub fn judge(self) -> Result<()> {
        let records = self.operations.into_iter().map(Record::Operation);
        let history = History::new(records.collect::<Vec<_>>(), Tolerance::default())
            .context("the recording is no history")?;
        let violations = check_all(&history);
        let report = Report::new(&history, &violations).to_string();
        ensure!(violations.is_empty(), "{report}");
        eprintln!("{report}");
        Ok(())
    }
}

/// Clients that ask until they are stopped.
pub struct Load {
    arena: Arc<Arena>,
    tasks: JoinSet<()>,
}

struct Arena {
    http: Client,
    cluster: KvCluster,
    nodes: Mutex<Vec<Endpoint>>,
    told: Mutex<Told>,
    began: Instant,
    stopped: AtomicBool,
}

impl Load {
    /// Begins, with so many requests a second. The seed decides what is asked for.
    pub async fn start(cluster: &KvCluster, per_second: u64, seed: u64) -> Result<Self> {
        let http = Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .connect_timeout(Duration::from_secs(1))
            .build()
            .context("build the HTTP client")?;
        let arena = Arc::new(Arena {
            http,
            cluster: cluster.clone(),
            nodes: Mutex::new(cluster.endpoints().await?),
            told: Mutex::default(),
            began: Instant::now(),
            stopped: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(arena.clone().look_for_nodes());
        let pace = Duration::from_secs(CLIENTS) / u32::try_from(per_second)?;
        for number in 0..CLIENTS {
            let client = ClientSession {
                arena: arena.clone(),
                number,
                random: StdRng::seed_from_u64(seed.wrapping_add(number)),
                next: None,
                values: 0,
            };
            let first = Instant::now() + pace.mul_f64(number as f64 / CLIENTS as f64);
            tasks.spawn(client.run(first, pace));
        }
        Ok(Self { arena, tasks })
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.arena.began.elapsed()
    }

    /// Lets the clients go on for so long.
    pub async fn go_on(&self, time: Duration) {
        sleep(time).await; // paced: so long a time is measured
    }

    /// Waits until each node gets an answer for every key from all of its owners.
    pub async fn all_answer(&self) -> Result<()> {
        for node in self.arena.cluster.endpoints().await? {
            self.arena.read_all(&node).await?;
        }
        Ok(())
    }

    /// Ends the load, reads every key from all of its owners through each node, and tells all.
    pub async fn stop(mut self) -> Result<Told> {
        self.arena.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a client panicked")?;
        }
        self.all_answer().await?;
        Ok(std::mem::take(&mut *self.arena.told.lock().await))
    }
}

impl Arena {
    async fn look_for_nodes(self: Arc<Self>) {
        let mut pace = interval(LOOK_EVERY);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.stopped.load(Ordering::Relaxed) {
            pace.tick().await;
            if let Ok(found) = self.cluster.endpoints().await
                && !found.is_empty()
            {
                *self.nodes.lock().await = found;
            }
        }
    }

    /// Reads every key from all owners: what was acknowledged must show, wherever it is.
    async fn read_all(&self, node: &Endpoint) -> Result<()> {
        for key in (0..KEYS).map(key_name) {
            let request = Request {
                key,
                what: What::Get,
                context: None,
                from_all: true,
            };
            let attempt = eventually("all owners answer", PATIENCE * 4, || async {
                let invoked_at_us = self.now_us();
                let reply = request.ask(&self.http, node).await;
                ensure!(reply.refusal.is_none(), "{:?}", reply.refusal);
                Ok(self.attempt(invoked_at_us, reply.outcome))
            })
            .await?;
            self.record(CLIENTS, &request, vec![attempt]).await;
        }
        Ok(())
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).expect("a scenario ends some day")
    }

    fn attempt(&self, invoked_at_us: u64, outcome: Outcome) -> Attempt {
        Attempt {
            invoked_at_us,
            completed_at_us: Some(self.now_us()),
            outcome,
        }
    }

    async fn record(&self, client: u64, request: &Request, attempts: Vec<Attempt>) {
        let mut told = self.told.lock().await;
        let id = OperationId(told.operations.len() as u64);
        told.operations.push(Operation {
            id,
            client,
            session: client,
            key: request.key.clone(),
            policy: request.policy(),
            kind: request.kind(),
            consistency: request.consistency(),
            request: None,
            attempts,
        });
    }

    /// A connection that is refused means that the node is gone: nobody asks it before it is seen
    /// again.
    async fn note(&self, node: &Endpoint, refusal: Option<&Refusal>) {
        let mut told = self.told.lock().await;
        told.attempts += 1;
        let Some(refusal) = refusal else {
            return;
        };
        *told.refusals.entry(refusal.code.clone()).or_default() += 1;
        eprintln!("refused: {}", refusal.message);
        if !refusal.retryable {
            let first = told.not_retryable.entry(refusal.code.clone());
            first.or_insert_with(|| refusal.clone());
        }
        drop(told);
        if refusal.code == CONNECTION {
            let mut nodes = self.nodes.lock().await;
            if nodes.len() > 1 {
                nodes.retain(|it| it != node);
            }
        }
    }
}

fn key_name(number: u64) -> KeyName {
    let keyspace = if number.is_multiple_of(3) {
        "data"
    } else {
        "kv"
    };
    KeyName::new(keyspace, format!("key-{number}"))
}

/// One client.
struct ClientSession {
    arena: Arc<Arena>,
    number: u64,
    random: StdRng,
    /// A key that was just read, with what was seen: it is written next.
    next: Option<(KeyName, Option<Value>)>,
    values: u64,
}

impl ClientSession {
    async fn run(mut self, first: Instant, pace: Duration) {
        let mut pace = interval_at(first, pace);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while !self.arena.stopped.load(Ordering::Relaxed) {
            let due = pace.tick().await;
            let request = self.draw();
            self.carry_out(&request).await;
            let times = (due - self.arena.began, due.elapsed());
            self.arena.told.lock().await.times.push(times);
        }
    }

    /// A key is read and then written, so that siblings do not pile up.
    fn draw(&mut self) -> Request {
        let (key, context, what) = match self.next.take() {
            Some((key, context)) => {
                let what = self.write(context.is_some());
                (key, context, what)
            }
            None => (key_name(self.random.random_range(0..KEYS)), None, What::Get),
        };
        Request {
            key,
            what,
            context,
            from_all: false,
        }
    }

    fn write(&mut self, has_context: bool) -> What {
        if has_context && self.random.random_bool(0.1) {
            return What::Delete;
        }
        self.values += 1;
        What::Put(ValueId(format!("c{}v{}", self.number, self.values)))
    }

    async fn carry_out(&mut self, request: &Request) {
        let mut attempts = Vec::new();
        while attempts.len() < MAX_ATTEMPTS {
            let Some(node) = self.node().await else {
                sleep(RETRY_AFTER).await; // paced: no node is known; the loop that looks finds one
                continue;
            };
            let invoked_at_us = self.arena.now_us();
            let Reply {
                outcome,
                context,
                refusal,
            } = request.ask(&self.arena.http, &node).await;
            self.arena.note(&node, refusal.as_ref()).await;
            let may_retry = outcome == Outcome::Rejected || request.what == What::Get;
            attempts.push(self.arena.attempt(invoked_at_us, outcome));
            if refusal.is_none() {
                self.next = (request.what == What::Get).then(|| (request.key.clone(), context));
                break;
            }
            if !may_retry {
                break;
            }
            sleep(RETRY_AFTER).await; // paced: what a client does that is told to try again
        }
        self.arena.record(self.number, request, attempts).await;
    }

    async fn node(&mut self) -> Option<Endpoint> {
        let nodes = self.arena.nodes.lock().await;
        let place = self.random.random_range(0..nodes.len().max(1));
        nodes.get(place).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::Told;
    use std::time::Duration;

    #[test]
    fn a_percentile_is_of_what_was_due_in_its_time() {
        let ms = Duration::from_millis;
        let told = Told {
            times: (0..200).map(|n| (ms(n), ms(n))).collect(),
            ..Told::default()
        };
        assert_eq!(told.percentile(99, ms(0), ms(100)), ms(99));
        assert_eq!(told.percentile(50, ms(100), ms(200)), ms(150));
        assert_eq!(told.percentile(99, ms(300), ms(400)), ms(0));
    }
}
