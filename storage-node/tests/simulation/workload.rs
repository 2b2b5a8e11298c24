//! What clients do: few keys, all kinds of requests, retries under one request id, and sessions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_causality::{RequestId, VersionVector};
use annulus_node::simulation::{Chance, Done, Seen, SimCluster, Terms, UNSYNCED_KEYSPACE};
use annulus_proto::model::{Consistency, Key, KeyspaceName, Outcome, RequestError, TimeToLive};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::invariants::Invariants;
use crate::invariants::acknowledged_is_on_disk::{self, Acknowledged};
use crate::recording::{Answer, Asked, Recording, Tried};

/// What all clients share.
pub(crate) struct Arena {
    pub(crate) cluster: Arc<SimCluster>,
    pub(crate) invariants: Arc<Invariants>,
    pub(crate) recording: Mutex<Recording>,
    pub(crate) acknowledged: Mutex<Acknowledged>,
    pub(crate) keys: usize,
    /// Writes must be on more than one disk, because disks get lost.
    pub(crate) loses_disks: bool,
    pub(crate) began: Instant,
    /// When the present storm ends.
    pub(crate) ends: Mutex<Instant>,
    /// A client's longest pause between requests, in milliseconds.
    pub(crate) think_ms: u64,
}

impl Arena {
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).expect("a simulation ends some day")
    }

    /// Whether the present storm goes on.
    pub(crate) fn is_stormy(&self) -> bool {
        Instant::now() < *self.ends.lock() && self.invariants.check().is_ok()
    }

    /// Every key that clients use.
    pub(crate) fn all_keys(&self) -> Vec<(KeyspaceName, Key)> {
        let spaces = [KeyspaceName::kv(), KeyspaceName::data(), unsynced()];
        let keys = spaces
            .into_iter()
            .flat_map(|space| (0..self.keys).map(move |number| (space.clone(), key_of(number))));
        keys.collect()
    }
}

/// The keyspace that does not wait for disks.
pub(crate) fn unsynced() -> KeyspaceName {
    KeyspaceName::new(UNSYNCED_KEYSPACE).expect("a valid name")
}

fn key_of(number: usize) -> Key {
    Key::new(format!("k{number}")).expect("a short key")
}

/// One client: one session.
pub(crate) struct Client {
    number: u64,
    arena: Arc<Arena>,
    chance: Chance,
    seen: BTreeMap<(KeyspaceName, Key), VersionVector>,
    sequence: u64,
}

impl Client {
    pub(crate) fn new(number: u64, seed: u64, arena: Arc<Arena>) -> Self {
        Self {
            number,
            arena,
            chance: Chance::new(seed, &format!("client {number}")),
            seen: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// Asks until the storm ends.
    pub(crate) async fn run(mut self) -> Self {
        while self.arena.is_stormy() {
            let think = self.chance.within(0..self.arena.think_ms);
            sleep(Duration::from_millis(think)).await;
            self.step().await;
        }
        self
    }

    async fn step(&mut self) {
        let space = match self.chance.within(0..100) {
            0..60 => KeyspaceName::kv(),
            60..90 => KeyspaceName::data(),
            _ => unsynced(),
        };
        // The first keys are hot.
        let most = self.chance.within(0..self.arena.keys as u64) + 1;
        let number = self.chance.within(0..most);
        let key = key_of(usize::try_from(number).expect("few keys"));
        let seen = self.seen.get(&(space.clone(), key.clone())).cloned();
        let seen = seen.unwrap_or_default();
        let (what, context) = match self.chance.within(0..100) {
            0..40 if self.chance.hits(400) => (What::Get, seen),
            0..40 => (What::Get, VersionVector::new()),
            40..72 => (self.put(None), seen),
            72..84 => (self.put(None), VersionVector::new()),
            84..88 => {
                let ttl = i64::try_from(self.chance.within(1..30)).expect("half a minute");
                let ttl = TimeToLive::from_seconds(ttl).expect("a valid time to live");
                (self.put(Some(ttl)), seen)
            }
            88..96 => (What::Delete, seen),
            _ => (What::Delete, VersionVector::new()),
        };
        self.sequence += 1;
        let terms = self.terms(&what, context);
        self.carry_out(space, key, what, terms).await;
    }

    fn put(&self, ttl: Option<TimeToLive>) -> What {
        What::Put(format!("c{}v{}", self.number, self.sequence + 1), ttl)
    }

    fn terms(&self, what: &What, context: VersionVector) -> Terms {
        let level = |usual: u64| match self.chance.within(0..1000) {
            drawn if drawn < usual => None,
            drawn if drawn % 3 == 0 => Some(Consistency::One),
            drawn if drawn % 3 == 1 => Some(Consistency::Quorum),
            _ => Some(Consistency::All),
        };
        let is_write = !matches!(what, What::Get);
        Terms {
            read: level(750),
            write: level(800).filter(|level| !(self.arena.loses_disks && is_one(*level))),
            context,
            request_id: (is_write && self.chance.hits(900)).then_some(RequestId {
                client: self.number + 1,
                sequence: self.sequence,
            }),
            ttl: match what {
                What::Put(_, ttl) => *ttl,
                _ => None,
            },
            timeout: Duration::from_millis([150, 500, 2000][self.chance.index(3)]),
        }
    }

    async fn carry_out(&mut self, space: KeyspaceName, key: Key, what: What, terms: Terms) {
        let mut tried = Vec::new();
        // Without a request id a retry would be another write.
        let may_retry = terms.request_id.is_some() || matches!(what, What::Get);
        loop {
            let invoked_at_us = self.arena.now_us();
            let answer = self.attempt(&space, &key, &what, &terms).await;
            let succeeded = !matches!(answer, Answer::Rejected | Answer::Unknown);
            self.learn(&space, &key, &answer);
            tried.push(Tried {
                invoked_at_us,
                completed_at_us: self.arena.now_us(),
                answer,
            });
            if succeeded || !may_retry || tried.len() == 3 || self.chance.hits(400) {
                break;
            }
            sleep(Duration::from_millis(self.chance.within(1..300))).await;
        }
        let all_rejected = tried
            .iter()
            .all(|tried| matches!(tried.answer, Answer::Rejected));
        if let What::Put(value, _) = &what
            && all_rejected
        {
            self.arena.invariants.rejected(value);
        }
        let asked = Asked {
            client: self.number,
            keyspace: space,
            key,
            what,
            terms,
            replicas: self.arena.cluster.replicas(),
        };
        self.arena.recording.lock().add(&asked, tried);
    }

    async fn attempt(&self, space: &KeyspaceName, key: &Key, what: &What, terms: &Terms) -> Answer {
        let cluster = &self.arena.cluster;
        let node = &cluster.nodes()[self.chance.index(cluster.nodes().len())];
        let asked = async {
            match what {
                What::Get => Answer::of_read(node.get(space, key, terms).await),
                What::Put(value, _) => {
                    let value = Bytes::from(value.clone());
                    self.acknowledged(space, key, terms, node.put(space, key, value, terms).await)
                }
                What::Delete => {
                    let deleted = node.delete(space, key, terms).await;
                    self.acknowledged(space, key, terms, deleted)
                }
            }
        };
        // A node that stands still doesn't even say that it is late.
        let patience = terms.timeout + Duration::from_millis(200);
        let answer = timeout(patience, asked).await.unwrap_or(Answer::Unknown);
        cluster.trace().note(format_args!(
            "c{} {} {space}/{key} at {}: {answer}",
            self.number,
            what.name(),
            node.name()
        ));
        if self.chance.hits(15) {
            return Answer::Unknown; // it got lost on the last bit of its way
        }
        answer
    }

    /// A write was answered: looks at the disks before anything else can happen.
    fn acknowledged(
        &self,
        space: &KeyspaceName,
        key: &Key,
        terms: &Terms,
        answer: Result<Done, RequestError>,
    ) -> Answer {
        if let Ok(done) = &answer
            && done.existed
            && *space != unsynced()
            && let Some(dot) = annulus_checker::minted_dot(Some(&terms.context), &done.clock)
        {
            let mut event = VersionVector::new();
            event.insert(dot);
            let owners = self.arena.cluster.replicas();
            let w = terms.write.unwrap_or(Consistency::Quorum).resolve(owners);
            let w = w.expect("as many owners as asked for");
            let on_disk =
                acknowledged_is_on_disk::check(&self.arena.cluster, (space, key), &event, w);
            self.arena.invariants.report(on_disk);
            let mut acknowledged = self.arena.acknowledged.lock();
            acknowledged.add(space, key, &event);
        }
        Answer::of_write(answer)
    }

    fn learn(&mut self, space: &KeyspaceName, key: &Key, answer: &Answer) {
        let clock = match answer {
            Answer::Found(seen) => seen.state.context(),
            Answer::Done(done) => done.clock.clone(),
            Answer::Rejected | Answer::Unknown => return,
        };
        self.seen.insert((space.clone(), key.clone()), clock);
    }
}

fn is_one(level: Consistency) -> bool {
    level == Consistency::One
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Get,
    Put(String, Option<TimeToLive>),
    Delete,
}

impl What {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Get => "get".into(),
            Self::Put(value, _) => format!("put {value} to"),
            Self::Delete => "delete".into(),
        }
    }
}

impl Answer {
    fn of_read(answer: Result<Seen, RequestError>) -> Self {
        answer.map_or_else(|error| Self::of_error(&error), Self::Found)
    }

    fn of_write(answer: Result<Done, RequestError>) -> Self {
        answer.map_or_else(|error| Self::of_error(&error), Self::Done)
    }

    fn of_error(error: &RequestError) -> Self {
        match error.outcome {
            Outcome::Rejected => Self::Rejected,
            Outcome::Unknown => Self::Unknown,
        }
    }
}
