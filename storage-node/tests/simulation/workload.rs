//! The clients of a run: each asks nodes one request after the other, and records what it was told.

use std::sync::Arc;
use std::time::Duration;

use annulus_node::simulation::{Done, Seen, SimCluster};
use annulus_proto::model::{Key, KeyspaceName, RequestError};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::asking::{self, Asker, Subject, What};
use crate::invariants::Invariants;
use crate::invariants::acknowledged_is_on_disk::{self, Acknowledged};
use crate::recording::{Answer, Asked, Recording, Tried, rejected};

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
        asking::all_keys(self.keys)
    }
}

/// One client: one session.
pub(crate) struct Client {
    asker: Asker,
    arena: Arc<Arena>,
}

impl Client {
    pub(crate) fn new(number: u64, seed: u64, arena: Arc<Arena>) -> Self {
        let subject = Subject {
            keys: arena.keys,
            replicas: arena.cluster.replicas(),
            loses_disks: arena.loses_disks,
            think_ms: arena.think_ms,
        };
        Self {
            asker: Asker::new(number, seed, subject),
            arena,
        }
    }

    /// Asks until the storm ends.
    pub(crate) async fn run(mut self) -> Self {
        while self.arena.is_stormy() {
            sleep(self.asker.pause()).await;
            let asked = self.asker.next();
            self.carry_out(asked).await;
        }
        self
    }

    async fn carry_out(&mut self, asked: Asked) {
        let mut tried = Vec::new();
        loop {
            let invoked_at_us = self.arena.now_us();
            let answer = self.attempt(&asked).await;
            self.asker.learn(&asked, &answer);
            tried.push(Tried {
                invoked_at_us,
                completed_at_us: self.arena.now_us(),
                answer,
            });
            let Some(pause) = self.asker.tries_again(&asked, &tried) else {
                break;
            };
            sleep(pause).await;
        }
        if let Some(value) = rejected(&asked, &tried) {
            self.arena.invariants.rejected(value);
        }
        self.arena.recording.lock().add(&asked, tried);
    }

    async fn attempt(&self, asked: &Asked) -> Answer {
        let Asked {
            keyspace: space,
            key,
            what,
            terms,
            ..
        } = asked;
        let cluster = &self.arena.cluster;
        let node = &cluster.nodes()[self.asker.choose(cluster.nodes().len())];
        let answering = async {
            match what {
                What::Get => Answer::of_read(node.get(space, key, terms).await),
                What::Put(value, _) => {
                    let value = Bytes::from(value.clone());
                    self.acknowledged(asked, node.put(space, key, value, terms).await)
                }
                What::Delete => self.acknowledged(asked, node.delete(space, key, terms).await),
            }
        };
        // A node that stands still doesn't even say that it is late.
        let patience = terms.timeout + Duration::from_millis(200);
        let answer = timeout(patience, answering)
            .await
            .unwrap_or(Answer::Unknown);
        cluster.trace().note(format_args!(
            "c{} {} {space}/{key} at {}: {answer}",
            asked.client,
            what.name(),
            node.name()
        ));
        if self.asker.misses_answer() {
            return Answer::Unknown;
        }
        answer
    }

    /// A write was answered: looks at the disks before anything else can happen.
    fn acknowledged(&self, asked: &Asked, answer: Result<Done, RequestError>) -> Answer {
        if let Ok(done) = &answer
            && let Some((event, w)) = acknowledged_is_on_disk::promised(asked, done)
        {
            let about = (&asked.keyspace, &asked.key);
            let layout = self.arena.cluster.layout();
            let on_disk = acknowledged_is_on_disk::check(layout, about, &event, w);
            self.arena.invariants.report(on_disk);
            let mut acknowledged = self.arena.acknowledged.lock();
            acknowledged.add(&asked.keyspace, &asked.key, &event);
        }
        Answer::of_write(answer)
    }
}

impl Answer {
    fn of_read(answer: Result<Seen, RequestError>) -> Self {
        answer.map_or_else(
            |error| Self::of_error(&error),
            |seen| Self::Found(seen.into()),
        )
    }

    fn of_write(answer: Result<Done, RequestError>) -> Self {
        answer.map_or_else(|error| Self::of_error(&error), Self::Done)
    }
}
