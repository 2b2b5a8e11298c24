//! The clients of a run: each asks nodes one request after the other, and records what it was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annulus_node::simulation::{Done, Seen, SimCluster};
use annulus_proto::model::{Key, KeyspaceName, RequestError};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::api_server::ApiServer;
use crate::asking::{self, Asker, Subject, What};
use crate::cold_keys;
use crate::invariants::Invariants;
use crate::invariants::acknowledged_is_on_disk::Acknowledged;
use crate::recording::{Answer, Asked, Recording};
use crate::session::{Session, conclude, look_at_disks};
use crate::wishes::Wishes;

/// What all clients share.
pub(crate) struct Arena {
    pub(crate) cluster: Arc<SimCluster>,
    pub(crate) invariants: Arc<Invariants>,
    /// Where the placement is recorded.
    pub(crate) api: ApiServer,
    /// What the ring is to be.
    pub(crate) wishes: Mutex<Wishes>,
    pub(crate) recording: Mutex<Recording>,
    pub(crate) acknowledged: Mutex<Acknowledged>,
    pub(crate) keys: usize,
    /// Writes must be on more than one disk, because disks get lost.
    pub(crate) loses_disks: bool,
    /// A node has lost data and has not mended itself yet.
    pub(crate) lacks_data: AtomicBool,
    /// So that no other may be given up.
    pub(crate) one_is_lost: AtomicBool,
    pub(crate) began: Instant,
    /// When the present storm ends.
    pub(crate) ends: Mutex<Instant>,
    /// A client's longest pause between requests, in milliseconds.
    pub(crate) think_ms: u64,
    /// Clients ask for no less than quorums.
    pub(crate) quorums_only: bool,
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
        let keys = asking::all_keys(self.keys).into_iter();
        keys.chain(cold_keys::all()).collect()
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
            quorums_only: arena.quorums_only,
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
            let tried = self.try_all(&asked).await;
            conclude(&self.arena.invariants, &self.arena.recording, &asked, tried);
        }
        self
    }

    /// Looks after the cold keys until the storm ends.
    pub(crate) async fn tend_cold_keys(mut self) -> Self {
        while self.arena.is_stormy() {
            sleep(self.asker.cold_pause()).await;
            let asked = self.asker.next_cold();
            let tried = self.try_all(&asked).await;
            conclude(&self.arena.invariants, &self.arena.recording, &asked, tried);
        }
        self
    }
}

impl Session for Client {
    fn asker(&mut self) -> &mut Asker {
        &mut self.asker
    }

    fn now_us(&self) -> u64 {
        self.arena.now_us()
    }

    async fn attempt(&mut self, asked: &Asked) -> Answer {
        let Asked {
            keyspace: space,
            key,
            what,
            terms,
            ..
        } = asked;
        let cluster = &self.arena.cluster;
        let members = cluster.members();
        let node = self.asker.choose_of(&members, cluster.nodes());
        let asked_under = node.kept_epoch();
        let answering = async {
            match what {
                What::Get => Answer::of_read(node.get(space, key, terms).await),
                What::Put(value, _) => {
                    let value = Bytes::from(value.clone());
                    Answer::of_write(node.put(space, key, value, terms).await)
                }
                What::Delete => Answer::of_write(node.delete(space, key, terms).await),
            }
        };
        // A node that stands still doesn't even say that it is late.
        let patience = terms.timeout + Duration::from_millis(200);
        let answer = timeout(patience, answering)
            .await
            .unwrap_or(Answer::Unknown);
        look_at_disks(
            (cluster.layout(), asked_under),
            &self.arena.invariants,
            &self.arena.acknowledged,
            asked,
            &answer,
            self.arena.lacks_data.load(Ordering::Relaxed),
        );
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
