//! Histories written by hand: one key `kv/k`, N = 3, R = W = 2, times in milliseconds.

use annulus_causality::{Actor, Dot, KeyEpoch, VersionVector, VnodeId};
use annulus_checker::{
    Attempt, Consistency, Deleted, FinalState, Found, HeldSibling, HeldState, History, KeyName,
    Kind, Operation, OperationId, Outcome, Policy, Record, RequestName, Rule, Shown, Tolerance,
    ValueId, Violation, Written, check_all,
};
use annulus_ring::NodeId;
use uuid::Uuid;

/// The `counter`-th event of vnode `vnode`.
pub(crate) fn dot(vnode: u64, counter: u64) -> Dot {
    Actor::new(VnodeId(vnode), KeyEpoch(1)).dot(counter)
}

/// The clock that covers these dots, and all before them.
pub(crate) fn clock(dots: &[Dot]) -> VersionVector {
    dots.iter().map(|dot| (dot.actor, dot.counter)).collect()
}

pub(crate) fn node(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number))
}

/// An operation to be; by default acknowledged, at quorum, taking 10 ms.
#[derive(Clone)]
pub(crate) struct Op(Operation);

fn op(id: u64, at_ms: u64, kind: Kind, outcome: Outcome) -> Op {
    Op(Operation {
        id: OperationId(id),
        client: id,
        session: id,
        key: KeyName::new("kv", "k"),
        policy: Policy::Siblings,
        kind,
        consistency: Consistency::QUORUM,
        request: Some(RequestName {
            client: 1,
            sequence: id,
        }),
        attempts: vec![attempt(at_ms, outcome)],
    })
}

fn attempt(at_ms: u64, outcome: Outcome) -> Attempt {
    Attempt {
        invoked_at_us: at_ms * 1_000,
        completed_at_us: Some((at_ms + 10) * 1_000),
        outcome,
    }
}

/// Puts `v<id>` over a context (none: blindly), acknowledged as `dot`.
pub(crate) fn put(id: u64, at_ms: u64, over: &[Dot], dot: Dot) -> Op {
    let sent = (!over.is_empty()).then(|| clock(over));
    let mut returned = sent.clone().unwrap_or_default();
    returned.insert(dot);
    let kind = Kind::Put {
        value: ValueId(format!("v{id}")),
        context: sent.clone(),
        ttl_us: None,
    };
    let outcome = Outcome::Written(Written {
        context: Some(returned),
        dot: Some(dot),
        version: None,
    });
    op(id, at_ms, kind, outcome)
}

/// Deletes, acknowledged as `dot`; without a context it deletes what it reads.
pub(crate) fn delete(id: u64, at_ms: u64, over: &[Dot], dot: Dot) -> Op {
    let sent = (!over.is_empty()).then(|| clock(over));
    let outcome = Outcome::Deleted(Deleted {
        existed: Some(true),
        context: None,
        dot: Some(dot),
    });
    op(id, at_ms, Kind::Delete { context: sent }, outcome)
}

/// Deletes what `over` covers, and is told that there is nothing.
pub(crate) fn delete_nothing(id: u64, at_ms: u64, over: &[Dot]) -> Op {
    let outcome = Outcome::Deleted(Deleted {
        existed: Some(false),
        context: Some(clock(over)),
        dot: None,
    });
    let context = Some(clock(over));
    op(id, at_ms, Kind::Delete { context }, outcome)
}

/// Gets `v<n>` for each (n, dot); the context covers `seen`.
pub(crate) fn get(id: u64, at_ms: u64, values: &[(u64, Dot)], seen: &[Dot]) -> Op {
    let values = values.iter().map(|&(n, dot)| Shown {
        value: ValueId(format!("v{n}")),
        dot: Some(dot),
    });
    let outcome = Outcome::Found(Found {
        values: values.collect(),
        context: Some(clock(seen)),
        version: None,
    });
    op(id, at_ms, Kind::Get { min_context: None }, outcome)
}

impl Op {
    pub(crate) fn outcome(mut self, outcome: Outcome) -> Self {
        self.0.attempts[0].outcome = outcome;
        self
    }

    pub(crate) fn unknown(self) -> Self {
        self.outcome(Outcome::Unknown)
    }

    pub(crate) fn rejected(self) -> Self {
        self.outcome(Outcome::Rejected)
    }

    /// One more attempt, acknowledged as `dot`.
    pub(crate) fn retried(mut self, at_ms: u64, dot: Dot) -> Self {
        let outcome = Outcome::Written(Written {
            context: None,
            dot: Some(dot),
            version: None,
        });
        self.0.attempts.push(attempt(at_ms, outcome));
        self
    }

    pub(crate) fn without_request(mut self) -> Self {
        self.0.request = None;
        self
    }

    pub(crate) fn ttl_ms(mut self, ttl_ms: u64) -> Self {
        if let Kind::Put { ttl_us, .. } = &mut self.0.kind {
            *ttl_us = Some(ttl_ms * 1_000);
        }
        self
    }

    pub(crate) fn r_w(mut self, r: u8, w: u8) -> Self {
        self.0.consistency = Consistency { n: 3, r, w };
        self
    }

    pub(crate) fn min_context(mut self, dots: &[Dot]) -> Self {
        self.0.kind = Kind::Get {
            min_context: Some(clock(dots)),
        };
        self
    }

    /// In a keyspace where the last writer wins, with this version.
    pub(crate) fn lww(mut self, named: u64) -> Self {
        self.0.policy = Policy::Lww;
        match &mut self.0.attempts[0].outcome {
            Outcome::Written(written) => written.version = Some(named),
            Outcome::Found(found) => found.version = Some(named),
            _ => {}
        }
        self
    }

    pub(crate) fn on_key(mut self, key: &str) -> Self {
        self.0.key.key = key.into();
        self
    }

    /// Without dots and contexts in the answer.
    pub(crate) fn bare(mut self) -> Self {
        match &mut self.0.attempts[0].outcome {
            Outcome::Written(written) => (written.dot, written.context) = (None, None),
            Outcome::Deleted(deleted) => (deleted.dot, deleted.context) = (None, None),
            Outcome::Found(found) => {
                found.context = None;
                found.values.iter_mut().for_each(|shown| shown.dot = None);
            }
            Outcome::Rejected | Outcome::Unknown => {}
        }
        self
    }
}

impl From<Op> for Record {
    fn from(op: Op) -> Self {
        Self::Operation(op.0)
    }
}

/// What node `number` holds at 1000 s; values as in [`get`], 0 for a tombstone. Stamps follow the list.
pub(crate) fn held(number: u128, values: &[(u64, Dot)], known: &[Dot]) -> FinalState {
    let siblings = values
        .iter()
        .zip(1..)
        .map(|(&(n, dot), stamp)| HeldSibling {
            dot,
            value: (n > 0).then(|| ValueId(format!("v{n}"))),
            stamp,
            expires_at_ms: None,
        });
    FinalState {
        node: node(number),
        key: KeyName::new("kv", "k"),
        policy: Policy::Siblings,
        at_us: 1_000_000_000,
        state: Some(HeldState {
            clock: clock(known),
            siblings: siblings.collect(),
        }),
    }
}

/// Three owners that hold the same.
pub(crate) fn held_by_all(values: &[(u64, Dot)], known: &[Dot]) -> Vec<Record> {
    let nodes = 1..=3;
    nodes
        .map(|number| Record::FinalState(held(number, values, known)))
        .collect()
}

pub(crate) fn history(records: Vec<Record>, tolerance: Tolerance) -> History {
    History::new(records, tolerance).expect("the scenario is a history")
}

/// Clocks are exact, deadlines 1 s, and answers may get lost.
pub(crate) const FAULTY: Tolerance = Tolerance {
    clock_skew_us: 0,
    deadline_us: 1_000_000,
    lost_answers: true,
    reap_age_us: 24 * 3_600 * 1_000_000,
};

/// The same, and no answer gets lost.
pub(crate) const CALM: Tolerance = Tolerance {
    lost_answers: false,
    ..FAULTY
};

/// As [`FAULTY`]; deleted keys are forgotten after ten minutes.
pub(crate) const REAPING: Tolerance = Tolerance {
    reap_age_us: 600_000_000,
    ..FAULTY
};

fn judge(records: Vec<Record>, tolerance: Tolerance) -> Vec<Violation> {
    check_all(&history(records, tolerance))
}

/// The rule, maybe with others, finds a violation.
#[track_caller]
pub(crate) fn breaks(rule: Rule, records: Vec<Record>, tolerance: Tolerance) {
    let found = judge(records, tolerance);
    assert!(
        found.iter().any(|v| v.rule == rule),
        "{rule} is silent: {found:#?}"
    );
}

/// No rule finds anything.
#[track_caller]
pub(crate) fn holds(records: Vec<Record>, tolerance: Tolerance) {
    let found = judge(records, tolerance);
    assert!(found.is_empty(), "{found:#?}");
}

/// Records of operations and others.
macro_rules! records {
    ($($op:expr),* $(,)?) => { vec![$(annulus_checker::Record::from($op)),*] };
}
pub(crate) use records;
