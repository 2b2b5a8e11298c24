//! Writers and readers over HTTP that keep account of what they were told.
//!
//! Each attempt ends in one of three ways, and the account never mixes them: *acknowledged* (the
//! value must be there from now on), *rejected* (it must never appear because of this attempt),
//! *unknown* (either). Values are a function of their key, so that a read proves itself.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, Semaphore},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    conditions::eventually,
    kvcluster::{Endpoint, KvCluster},
};

/// Longer than the server's own limit, so that its answer and not our impatience decides.
const REQUEST: Duration = Duration::from_secs(15);
/// For one key, over all attempts and nodes.
const PER_KEY: Duration = Duration::from_secs(90);
const CONCURRENT_REQUESTS: usize = 16;

/// How one attempt to write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The server said that it is done.
    Acknowledged,
    /// The server said, or the lack of a connection proves, that nothing happened.
    Rejected(Refusal),
    /// It may or may not have happened.
    Unknown(Refusal),
}

/// Why an attempt did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error's code, or `connection` when there was no answer.
    pub code: String,
    /// Whether the server said that trying again makes sense.
    pub retryable: bool,
    /// Which node, and what it said.
    pub message: String,
}

/// What a client that speaks HTTP to single nodes can do.
#[derive(Debug, Clone)]
pub struct HttpClient(Client);

impl HttpClient {
    /// A client that goes directly to the nodes.
    pub fn new() -> Result<Self> {
        let client = Client::builder()
            .no_proxy()
            .timeout(REQUEST)
            .connect_timeout(Duration::from_secs(2))
            .build()
            .context("build the HTTP client")?;
        Ok(Self(client))
    }

    /// One attempt to write a key through one node, with the keyspace's default consistency.
    pub async fn put(&self, node: &Endpoint, key: &str, value: &Value) -> Attempt {
        let url = format!("{}/v1/data/{key}", node.url);
        match self.0.put(url).json(&json!({"value": value})).send().await {
            Ok(answer) if answer.status() == StatusCode::OK => Attempt::Acknowledged,
            Ok(answer) => refused(node, answer).await,
            Err(error) => unanswered(node, &error),
        }
    }

    /// One attempt to read a key through one node. Nothing when the node says that it is absent.
    pub async fn get(&self, node: &Endpoint, key: &str) -> Result<Option<Value>> {
        let answer = self.request(node, key).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let status = answer.status();
        let body: Value = answer
            .json()
            .await
            .with_context(|| format!("{status} without JSON"))?;
        ensure!(
            status == StatusCode::OK,
            "{} answered {status}: {body}",
            node.pod
        );
        Ok(Some(body["value"].clone()))
    }

    /// The epoch of the placement that a node serves by.
    pub async fn epoch(&self, node: &Endpoint) -> Result<u64> {
        let answer = self.request(node, "any").await?;
        let epoch = answer.headers().get("x-annulus-epoch");
        let text = epoch
            .context("the answer has no x-annulus-epoch")?
            .to_str()?;
        text.parse()
            .with_context(|| format!("x-annulus-epoch is {text:?}"))
    }

    async fn request(&self, node: &Endpoint, key: &str) -> Result<Response> {
        let url = format!("{}/v1/data/{key}", node.url);
        self.0
            .get(url)
            .send()
            .await
            .with_context(|| format!("read {key} through {}", node.pod))
    }
}

async fn refused(node: &Endpoint, answer: Response) -> Attempt {
    let status = answer.status();
    let body: Value = answer.json().await.unwrap_or_default();
    let error = &body["error"];
    let refusal = Refusal {
        code: error["code"].as_str().unwrap_or("none").to_owned(),
        retryable: error["retryable"] == true,
        message: format!("{} answered {status}: {body}", node.pod),
    };
    if error["outcome"] == "rejected" {
        Attempt::Rejected(refusal)
    } else {
        Attempt::Unknown(refusal)
    }
}

fn unanswered(node: &Endpoint, error: &reqwest::Error) -> Attempt {
    let refusal = Refusal {
        code: "connection".to_owned(),
        retryable: true,
        message: format!("{}: {error}", node.pod),
    };
    if error.is_connect() {
        Attempt::Rejected(refusal)
    } else {
        Attempt::Unknown(refusal)
    }
}

/// The value that belongs to a key.
pub fn value_of(key: &str) -> Value {
    json!({"written": key})
}

/// What became of all attempts of a [`Workload`].
#[derive(Debug, Default)]
pub struct Account {
    /// Keys whose write was acknowledged.
    pub acknowledged: Vec<String>,
    /// Keys that were never acknowledged, with the last refusal.
    pub given_up: Vec<(String, String)>,
    /// Attempts that failed, by the code of their error.
    pub refusals: BTreeMap<String, usize>,
    /// The first attempt of each code that the server did not call retryable.
    pub not_retryable: BTreeMap<String, Refusal>,
}

/// Writes many keys through all nodes of a cluster.
#[derive(Clone)]
pub struct Workload {
    http: HttpClient,
    cluster: KvCluster,
    endpoints: Arc<Mutex<Vec<Endpoint>>>,
    account: Arc<Mutex<Account>>,
}

impl Workload {
    /// A workload for a cluster that is up.
    pub async fn new(cluster: &KvCluster) -> Result<Self> {
        Ok(Self {
            http: HttpClient::new()?,
            cluster: cluster.clone(),
            endpoints: Arc::new(Mutex::new(cluster.endpoints().await?)),
            account: Arc::default(),
        })
    }

    /// Writes `keys` keys at `per_second` keys a second. A key is tried through one node after
    /// another until it is acknowledged or its time is over.
    pub async fn write(self, keys: usize, per_second: u32) -> Result<Account> {
        let permits = Arc::new(Semaphore::new(CONCURRENT_REQUESTS));
        let mut pace = interval(Duration::from_secs(1) / per_second);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut writes = JoinSet::new();
        for number in 0..keys {
            pace.tick().await;
            let permit = permits
                .clone()
                .acquire_owned()
                .await
                .context("permits are never closed")?;
            let workload = self.clone();
            writes.spawn(async move {
                workload.write_key(number).await;
                drop(permit);
            });
        }
        while let Some(written) = writes.join_next().await {
            written.context("a writer panicked")?;
        }
        Ok(std::mem::take(&mut *self.account.lock().await))
    }

    async fn write_key(&self, number: usize) {
        let key = format!("key-{number:06}");
        let end = Instant::now() + PER_KEY;
        let mut last = String::new();
        for attempt in 0.. {
            if Instant::now() > end {
                self.account.lock().await.given_up.push((key, last));
                return;
            }
            let Some(node) = self.node(number + attempt).await else {
                continue;
            };
            match self.http.put(&node, &key, &value_of(&key)).await {
                Attempt::Acknowledged => {
                    self.account.lock().await.acknowledged.push(key);
                    return;
                }
                Attempt::Rejected(refusal) | Attempt::Unknown(refusal) => {
                    last.clone_from(&refusal.message);
                    self.note(refusal).await;
                    self.look_again().await;
                }
            }
        }
    }

    async fn node(&self, number: usize) -> Option<Endpoint> {
        let endpoints = self.endpoints.lock().await;
        if let Some(node) = endpoints.get(number % endpoints.len().max(1)) {
            return Some(node.clone());
        }
        drop(endpoints);
        self.look_again().await;
        None
    }

    /// After a failure: pods get new addresses when they come back.
    async fn look_again(&self) {
        let found = eventually("a node that serves", Duration::from_secs(10), || async {
            let endpoints = self.cluster.endpoints().await?;
            ensure!(!endpoints.is_empty(), "no node is ready");
            Ok(endpoints)
        });
        // Without any the old ones are tried again, until the key's time is over.
        if let Ok(endpoints) = found.await {
            *self.endpoints.lock().await = endpoints;
        }
    }

    async fn note(&self, refusal: Refusal) {
        let mut account = self.account.lock().await;
        *account.refusals.entry(refusal.code.clone()).or_default() += 1;
        if !refusal.retryable {
            account
                .not_retryable
                .entry(refusal.code.clone())
                .or_insert(refusal);
        }
    }
}

/// Reads keys through each of the nodes and compares each value with what was written.
pub async fn read_back(nodes: &[Endpoint], keys: &[String]) -> Result<()> {
    let http = HttpClient::new()?;
    for node in nodes {
        let permits = Arc::new(Semaphore::new(CONCURRENT_REQUESTS));
        let mut reads = JoinSet::new();
        for key in keys {
            let permit = permits
                .clone()
                .acquire_owned()
                .await
                .context("permits are never closed")?;
            let (http, node, key) = (http.clone(), node.clone(), key.clone());
            reads.spawn(async move {
                let found = http.get(&node, &key).await;
                drop(permit);
                (key, found)
            });
        }
        let mut wrong = Vec::new();
        while let Some(read) = reads.join_next().await {
            let (key, found) = read.context("a reader panicked")?;
            let found = found?;
            if found.as_ref() != Some(&value_of(&key)) {
                wrong.push(format!("{key} is {found:?}"));
            }
        }
        if !wrong.is_empty() {
            let first = wrong.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            bail!(
                "{} of {} acknowledged keys are lost through {}: {first}",
                wrong.len(),
                keys.len(),
                node.pod
            );
        }
    }
    Ok(())
}
