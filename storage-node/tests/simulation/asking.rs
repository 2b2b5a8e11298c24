//! What clients ask for next: few keys, all kinds of requests, retries under one request id, and
//! sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use annulus_causality::{RequestId, VersionVector};
use annulus_node::simulation::{Chance, Terms, UNSYNCED_KEYSPACE};
use annulus_proto::model::{Consistency, Key, KeyspaceName, TimeToLive};

use crate::recording::{Answer, Asked, Tried};

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

/// Every key that clients use.
pub(crate) fn all_keys(keys: usize) -> Vec<(KeyspaceName, Key)> {
    let spaces = [KeyspaceName::kv(), KeyspaceName::data(), unsynced()];
    let keys = spaces
        .into_iter()
        .flat_map(|space| (0..keys).map(move |number| (space.clone(), key_of(number))));
    keys.collect()
}

/// The keyspace that does not wait for disks.
fn unsynced() -> KeyspaceName {
    KeyspaceName::new(UNSYNCED_KEYSPACE).expect("a valid name")
}

fn key_of(number: usize) -> Key {
    Key::new(format!("k{number}")).expect("a short key")
}

/// What the clients of a run ask about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) keys: usize,
    /// Owners of each key.
    pub(crate) replicas: usize,
    /// Writes must be on more than one disk, because disks get lost.
    pub(crate) loses_disks: bool,
    /// A client's longest pause between requests, in milliseconds.
    pub(crate) think_ms: u64,
    /// Nobody asks for less than quorums.
    pub(crate) quorums_only: bool,
}

/// The mind of one client: one session.
pub(crate) struct Asker {
    number: u64,
    pub(crate) chance: Chance,
    subject: Subject,
    /// Which writes are sloppy.
    sloppy: Chance,
    seen: BTreeMap<(KeyspaceName, Key), VersionVector>,
    sequence: u64,
}

impl Asker {
    pub(crate) fn new(number: u64, seed: u64, subject: Subject) -> Self {
        Self {
            number,
            chance: Chance::new(seed, &format!("client {number}")),
            subject,
            sloppy: Chance::new(seed, &format!("sloppy client {number}")),
            seen: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// The time before the next request.
    pub(crate) fn pause(&self) -> Duration {
        Duration::from_millis(self.chance.within(0..self.subject.think_ms))
    }

    /// The next request.
    pub(crate) fn next(&mut self) -> Asked {
        let keyspace = match self.chance.within(0..100) {
            0..60 => KeyspaceName::kv(),
            60..90 => KeyspaceName::data(),
            _ => unsynced(),
        };
        // The first keys are hot.
        let most = self.chance.within(0..self.subject.keys as u64) + 1;
        let number = self.chance.within(0..most);
        let key = key_of(usize::try_from(number).expect("few keys"));
        let seen = self.seen(&keyspace, &key);
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
        self.ask(keyspace, key, what, context)
    }

    /// A request for this, on terms that are drawn.
    pub(crate) fn ask(
        &mut self,
        keyspace: KeyspaceName,
        key: Key,
        what: What,
        context: VersionVector,
    ) -> Asked {
        self.sequence += 1;
        let mut terms = self.terms(&what, context);
        terms.sloppy &= keyspace != unsynced();
        Asked {
            client: self.number,
            keyspace,
            key,
            terms,
            what,
            replicas: self.subject.replicas,
        }
    }

    /// What the client has seen of a key.
    pub(crate) fn seen(&self, keyspace: &KeyspaceName, key: &Key) -> VersionVector {
        let about = (keyspace.clone(), key.clone());
        self.seen.get(&about).cloned().unwrap_or_default()
    }

    pub(crate) fn put(&self, ttl: Option<TimeToLive>) -> What {
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
        let Subject {
            loses_disks,
            quorums_only,
            ..
        } = self.subject;
        let is_one = |level: &Consistency| *level == Consistency::One;
        Terms {
            read: level(750).filter(|level| !(quorums_only && is_one(level))),
            write: level(800).filter(|level| !((loses_disks || quorums_only) && is_one(level))),
            context,
            request_id: (is_write && self.chance.hits(900)).then_some(RequestId {
                client: self.number + 1,
                sequence: self.sequence,
            }),
            // A sloppy write may be on one owner's disk alone.
            sloppy: is_write && !loses_disks && self.sloppy.hits(250),
            ttl: match what {
                What::Put(_, ttl) => *ttl,
                _ => None,
            },
            timeout: Duration::from_millis([150, 500, 2000][self.chance.index(3)]),
        }
    }

    /// Which of so many nodes to ask.
    pub(crate) fn choose(&self, nodes: usize) -> usize {
        self.chance.index(nodes)
    }

    /// Which node to ask: a member, but for now and then.
    #[allow(dead_code, reason = "in the layer over TCP all nodes are members")]
    pub(crate) fn choose_of<'n, T>(&self, members: &'n [T], all: &'n [T]) -> &'n T {
        let nodes = if members.len() < all.len() && self.chance.hits(30) {
            all
        } else {
            members
        };
        &nodes[self.choose(nodes.len())]
    }

    /// Whether an answer gets lost on the last bit of its way.
    pub(crate) fn misses_answer(&self) -> bool {
        self.chance.hits(15)
    }

    /// After a try: when to try again, if at all.
    pub(crate) fn tries_again(&self, asked: &Asked, tried: &[Tried]) -> Option<Duration> {
        // Without a request id a retry would be another write.
        let may_retry = asked.terms.request_id.is_some() || matches!(asked.what, What::Get);
        let succeeded = tried.last().is_some_and(|last| last.answer.is_success());
        if succeeded || !may_retry || tried.len() == 3 || self.chance.hits(400) {
            return None;
        }
        Some(Duration::from_millis(self.chance.within(1..300)))
    }

    /// What an answer lets the client know.
    pub(crate) fn learn(&mut self, asked: &Asked, answer: &Answer) {
        let clock = match answer {
            Answer::Found(seen) => seen.context.clone(),
            Answer::Done(done) => done.clock.clone(),
            Answer::Rejected | Answer::Unknown => return,
        };
        let about = (asked.keyspace.clone(), asked.key.clone());
        self.seen.insert(about, clock);
    }
}
