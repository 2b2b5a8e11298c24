//! The clients: each has a connection of its own to every node that it asks, and records what it was
//! told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use annulus_node::simulation::{Layout, Timeline, Trace};
use annulus_proto::model::{Key, KeyspaceName};
use annulus_proto::read_status;
use annulus_ring::RingEpoch;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use crate::asking::{self, Asker, Subject};
use crate::calls;
use crate::invariants::Invariants;
use crate::invariants::acknowledged_is_on_disk::Acknowledged;
use crate::plan::Plan;
use crate::recording::{Answer, Asked, Recording};
use crate::session::{Session, conclude, look_at_disks};

/// How long a client waits for a node that doesn't even say that it is late.
const PATIENCE: Duration = Duration::from_millis(200);

/// A client's longest pause between requests, in milliseconds.
const THINK_MS: u64 = 30;

/// What all clients share.
pub(crate) struct Arena {
    pub(crate) layout: Layout,
    pub(crate) trace: Arc<Trace>,
    pub(crate) timeline: Timeline,
    pub(crate) invariants: Arc<Invariants>,
    pub(crate) recording: Mutex<Recording>,
    pub(crate) acknowledged: Mutex<Acknowledged>,
    pub(crate) keys: usize,
    pub(crate) ends: Duration,
    /// All faults are over.
    pub(crate) is_healed: AtomicBool,
}

impl Arena {
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.timeline.elapsed().as_micros()).expect("a simulation ends some day")
    }

    pub(crate) fn nodes(&self) -> usize {
        self.layout.disks().len()
    }

    /// Every key that clients use.
    pub(crate) fn all_keys(&self) -> Vec<(KeyspaceName, Key)> {
        asking::all_keys(self.keys)
    }
}

/// A client's connections to the nodes; those that disappointed are made anew.
#[derive(Default)]
pub(crate) struct Lines(BTreeMap<usize, Channel>);

impl Lines {
    /// Asks the node at a position.
    pub(crate) async fn ask(&mut self, at: usize, asked: &Asked) -> Answer {
        let channel = match self.0.get(&at) {
            Some(channel) => channel.clone(),
            None => match calls::connect(&format!("n{}", at + 1), 9600).await {
                Ok(channel) => self.0.entry(at).or_insert(channel).clone(),
                Err(_) => return Answer::Rejected, // it was not even asked
            },
        };
        let patience = asked.terms.timeout + PATIENCE;
        let answer = match timeout(patience, calls::ask(channel, asked)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) => Answer::of_error(&read_status(&status)),
            Err(_) => Answer::Unknown,
        };
        if matches!(answer, Answer::Unknown) {
            self.0.remove(&at);
        }
        answer
    }
}

/// One client: one session.
pub(crate) struct Client {
    asker: Asker,
    lines: Lines,
    arena: Arc<Arena>,
}

impl Client {
    pub(crate) fn new(number: u64, plan: &Plan, arena: Arc<Arena>) -> Self {
        let subject = Subject {
            keys: arena.keys,
            replicas: arena.layout.replicas(),
            loses_disks: false,
            think_ms: THINK_MS,
            quorums_only: false,
        };
        Self {
            asker: Asker::new(number, plan.seed, subject),
            lines: Lines::default(),
            arena,
        }
    }

    pub(crate) async fn run(mut self) {
        while self.arena.timeline.elapsed() < self.arena.ends
            && self.arena.invariants.check().is_ok()
        {
            sleep(self.asker.pause()).await;
            let asked = self.asker.next();
            let tried = self.try_all(&asked).await;
            conclude(&self.arena.invariants, &self.arena.recording, &asked, tried);
        }
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
        let at = self.asker.choose(self.arena.nodes());
        let answer = self.lines.ask(at, asked).await;
        let (space, key) = (&asked.keyspace, &asked.key);
        self.arena.trace.note(format_args!(
            "c{} {} {space}/{key} at n{}: {answer}",
            asked.client,
            asked.what.name(),
            at + 1
        ));
        look_at_disks(
            // The owners are the same at every epoch.
            (&self.arena.layout, RingEpoch::FIRST),
            &self.arena.invariants,
            &self.arena.acknowledged,
            asked,
            &answer,
            false,
        );
        if self.asker.misses_answer() {
            return Answer::Unknown;
        }
        answer
    }
}
