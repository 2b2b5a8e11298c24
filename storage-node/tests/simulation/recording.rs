//! What clients asked for and were told, in the checker's form.

use std::fmt;

use annulus_causality::{Dot, VersionVector};
use annulus_checker::{
    Attempt, Consistency, Deleted, Found, KeyName, Kind, Operation, OperationId, Outcome, Policy,
    Record, RequestName, Shown, ValueId, Verdict, Written, minted_dot,
};
use annulus_node::simulation::{Done, Seen, Terms};
use annulus_proto::model::{Key, KeyspaceName, RequestError};
use bytes::Bytes;

use crate::asking::What;

/// What a read showed.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) values: Vec<(Bytes, Dot)>,
    pub(crate) context: VersionVector,
    /// The key's version, where the client is told.
    pub(crate) version: Option<u64>,
}

impl From<Seen> for Sight {
    fn from(seen: Seen) -> Self {
        let live = seen.state.live(seen.now_ms);
        let values = live.map(|sibling| {
            let value = sibling.value(seen.now_ms).cloned();
            (value.unwrap_or_default(), sibling.dot)
        });
        Self {
            values: values.collect(),
            context: seen.state.context(),
            version: None,
        }
    }
}

/// An answer, as the client took it.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Found(Sight),
    Done(Done),
    Rejected,
    Unknown,
}

impl Answer {
    pub(crate) fn of_error(error: &RequestError) -> Self {
        match error.outcome {
            annulus_proto::model::Outcome::Rejected => Self::Rejected,
            annulus_proto::model::Outcome::Unknown => Self::Unknown,
        }
    }

    pub(crate) fn is_success(&self) -> bool {
        !matches!(self, Self::Rejected | Self::Unknown)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(seen) => {
                f.write_str("found")?;
                for (value, dot) in &seen.values {
                    write!(f, " {} ({dot})", String::from_utf8_lossy(value))?;
                }
                Ok(())
            }
            Self::Done(done) => {
                f.write_str("ok")?;
                for (actor, counter) in done.clock.iter() {
                    write!(f, " {actor}:{counter}")?;
                }
                Ok(())
            }
            Self::Rejected => f.write_str("rejected"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// One try of a request.
#[derive(Debug, Clone)]
pub(crate) struct Tried {
    pub(crate) invoked_at_us: u64,
    pub(crate) completed_at_us: u64,
    pub(crate) answer: Answer,
}

/// The value of a write of which no try was even begun, as far as its client was told.
pub(crate) fn rejected<'a>(asked: &'a Asked, tried: &[Tried]) -> Option<&'a str> {
    let is_rejected = |tried: &Tried| matches!(tried.answer, Answer::Rejected);
    match &asked.what {
        What::Put(value, _) if tried.iter().all(is_rejected) => Some(value),
        _ => None,
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) client: u64,
    pub(crate) keyspace: KeyspaceName,
    pub(crate) key: Key,
    pub(crate) what: What,
    pub(crate) terms: Terms,
    pub(crate) replicas: usize,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) records: Vec<Record>,
    operations: u64,
    acknowledged: u64,
}

impl Recording {
    /// So many operations.
    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    /// So many of them were answered with success.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(crate) fn add(&mut self, asked: &Asked, tried: Vec<Tried>) {
        self.operations += 1;
        let sloppy = tried
            .iter()
            .any(|tried| matches!(&tried.answer, Answer::Done(done) if done.sloppy));
        let context = Some(asked.terms.context.clone()).filter(|context| !context.is_empty());
        let attempts = tried.into_iter().map(|tried| Attempt {
            invoked_at_us: tried.invoked_at_us,
            completed_at_us: Some(tried.completed_at_us),
            outcome: outcome(asked, tried.answer),
        });
        let operation = Operation {
            id: OperationId(self.operations),
            client: asked.client,
            session: asked.client,
            key: name_of(&asked.keyspace, &asked.key),
            policy: policy_of(&asked.keyspace),
            consistency: Consistency {
                // No read is bound to see what other nodes keep for owners that are away.
                w: if sloppy { 0 } else { consistency(asked).w },
                ..consistency(asked)
            },
            request: asked.terms.request_id.map(RequestName::from),
            attempts: attempts.collect(),
            kind: match &asked.what {
                What::Get => Kind::Get {
                    min_context: context,
                },
                What::Put(value, ttl) => Kind::Put {
                    value: ValueId(value.clone()),
                    context,
                    ttl_us: ttl.map(|ttl| ttl.milliseconds() * 1000),
                },
                What::Delete => Kind::Delete { context },
            },
        };
        self.acknowledged += u64::from(operation.verdict() == Verdict::Ok);
        self.records.push(Record::Operation(operation));
    }
}

/// A key's name in the checker's words.
pub(crate) fn name_of(keyspace: &KeyspaceName, key: &Key) -> KeyName {
    KeyName::new(keyspace.as_str(), key.to_string())
}

/// A keyspace's policy in the checker's words.
pub(crate) fn policy_of(keyspace: &KeyspaceName) -> Policy {
    if *keyspace == KeyspaceName::data() {
        Policy::Lww
    } else {
        Policy::Siblings
    }
}

fn consistency(asked: &Asked) -> Consistency {
    let number = |level: Option<annulus_proto::model::Consistency>| {
        let level = level.unwrap_or(annulus_proto::model::Consistency::Quorum);
        let resolved = level.resolve(asked.replicas).expect("levels that exist");
        u8::try_from(resolved).expect("a few owners")
    };
    Consistency {
        n: u8::try_from(asked.replicas).expect("a few owners"),
        r: number(asked.terms.read),
        w: number(asked.terms.write.filter(|_| asked.what != What::Get)),
    }
}

fn outcome(asked: &Asked, answer: Answer) -> Outcome {
    let is_lww = policy_of(&asked.keyspace) == Policy::Lww;
    match answer {
        Answer::Rejected => Outcome::Rejected,
        Answer::Unknown => Outcome::Unknown,
        Answer::Found(seen) => Outcome::Found(Found {
            values: seen.values.iter().map(shown).collect(),
            context: Some(seen.context),
            version: seen.version,
        }),
        Answer::Done(done) => {
            let dot = minted_dot(Some(&asked.terms.context), &done.clock);
            let context = Some(done.clock);
            if asked.what == What::Delete {
                let is_blind = asked.terms.context.is_empty();
                Outcome::Deleted(Deleted {
                    existed: Some(done.existed),
                    context,
                    // Of a delete without context the answer also covers what its read saw.
                    dot: dot.filter(|_| !is_blind),
                })
            } else {
                Outcome::Written(Written {
                    context,
                    dot,
                    version: is_lww.then_some(done.version),
                })
            }
        }
    }
}

fn shown((value, dot): &(Bytes, Dot)) -> Shown {
    Shown {
        value: ValueId::of(value),
        dot: Some(*dot),
    }
}
