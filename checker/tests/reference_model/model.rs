//! Three replicas of one key with the store's own merge and minting, and a coordinator that keeps its promises:
//! quorums, blocking read repair, deletes of what a read sees, retries. It records what it does.

use annulus_causality::{
    ConflictPolicy, Content, HlcClock, KeyState, NewWrite, RequestId, VersionVector, VnodeClock,
    VnodeId,
};
use annulus_checker::{
    Attempt, Consistency, Deleted, FinalState, Found, KeyName, Kind, Operation, OperationId,
    Outcome, Record, Tolerance, ValueId, Written,
};
use annulus_ring::NodeId;
use bytes::Bytes;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use uuid::Uuid;

const REPLICAS: usize = 3;
const STEP_MS: u64 = 50;
/// Each replica's wall clock is ahead by its number times this.
const SKEW_MS: u64 = 100;

/// What the model's clocks and coordinator may do.
pub(crate) const TOLERANCE: Tolerance = Tolerance {
    clock_skew_us: 2 * SKEW_MS * 1_000,
    deadline_us: STEP_MS * 1_000,
    lost_answers: true,
    reap_age_us: 24 * 3_600 * 1_000_000,
};

/// What a client writes.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// Which replica mints.
    at: usize,
    /// Which others get it.
    reaches: u8,
    /// The context: one that some client was given, or none.
    seen: Option<usize>,
    delete: bool,
    ttl_ms: Option<u64>,
    /// The answer of that replica is lost before, and this one wrote it too.
    lost_at: Option<usize>,
    /// The client tries again, at that replica.
    retry_at: Option<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write(Write),
    /// Reads at all of `from`.
    Read {
        from: u8,
    },
    /// One replica's state reaches another: a write that is late, or a repair.
    Send {
        from: usize,
        to: usize,
    },
    /// A replica starts again, uncleanly.
    Crash {
        at: usize,
    },
    /// A write that was refused, or whose request got lost: nothing happens.
    Nothing {
        rejected: bool,
        seen: Option<usize>,
    },
}

/// Which steps there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Answers get lost, clients try again.
    pub(crate) doubles: bool,
    /// Deletes without a context, and values with a time to live.
    pub(crate) endings: bool,
}

pub(crate) fn steps(weather: Weather) -> impl Strategy<Value = Vec<Step>> {
    let replica = || 0..REPLICAS;
    let again = || prop::option::weighted(0.2, 0..REPLICAS);
    let seen = || prop::option::weighted(0.7, 0..64_usize);
    let write = (
        (replica(), any::<u8>(), seen()),
        prop::bool::weighted(0.25),
        prop::option::weighted(0.2, 50..1_500_u64),
        (again(), again()),
    );
    let write = write.prop_map(
        move |((at, reaches, seen), delete, ttl_ms, (lost_at, retry_at))| {
            Step::Write(Write {
                at,
                reaches,
                seen,
                delete: delete && (weather.endings || seen.is_some()),
                ttl_ms: ttl_ms.filter(|_| weather.endings),
                lost_at: lost_at.filter(|_| weather.doubles),
                retry_at: retry_at.filter(|_| weather.doubles),
            })
        },
    );
    let step = prop_oneof![
        8 => write,
        8 => any::<u8>().prop_map(|from| Step::Read { from }),
        3 => (replica(), replica()).prop_map(|(from, to)| Step::Send { from, to }),
        1 => replica().prop_map(|at| Step::Crash { at }),
        1 => (any::<bool>(), seen()).prop_map(|(rejected, seen)| Step::Nothing { rejected, seen }),
        1 => Just(Step::Read { from: 7 }),
    ];
    prop::collection::vec(step, 1..60)
}

struct Replica {
    vnode: VnodeClock,
    hlc: HlcClock,
    state: Option<KeyState>,
}

/// The replicas, and the recording so far.
pub(crate) struct Model {
    policy: ConflictPolicy,
    replicas: Vec<Replica>,
    contexts: Vec<VersionVector>,
    now_ms: u64,
    pub(crate) records: Vec<Record>,
}

/// Lives these steps, heals, reads once more, and records what all hold.
pub(crate) fn live(steps: &[Step], policy: ConflictPolicy) -> Vec<Record> {
    let mut model = Model {
        policy,
        replicas: (1..=REPLICAS as u64).map(Replica::new).collect(),
        contexts: vec![VersionVector::new()],
        now_ms: 1_800_000_000_000,
        records: Vec::new(),
    };
    for step in steps {
        model.now_ms += STEP_MS;
        model.take(step);
    }
    model.now_ms += STEP_MS;
    for from in (0..REPLICAS).cycle().take(2 * REPLICAS) {
        model.send(from, 7);
    }
    model.read(7);
    model.now_ms += STEP_MS;
    model.record_finals();
    model.records
}

impl Replica {
    fn new(number: u64) -> Self {
        let mut replica = Self {
            vnode: VnodeClock::create(VnodeId(number)),
            hlc: HlcClock::new(),
            state: None,
        };
        replica.take_lease();
        replica
    }

    fn take_lease(&mut self) {
        if let Some(lease) = self.vnode.needs_lease() {
            self.vnode.lease_granted(&lease);
        }
    }
}

impl Model {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Write(write) => self.write(write),
            Step::Read { from } => self.read(*from),
            Step::Send { from, to } => self.send(*from, 1 << to),
            Step::Crash { at } => {
                let replica = &mut self.replicas[*at];
                replica.vnode = VnodeClock::open(replica.vnode.clone().close(), false);
                // A record of an open lease: unclean.
                replica.take_lease();
            }
            Step::Nothing { rejected, seen } => {
                let kind = Kind::Put {
                    value: self.next_value(),
                    context: self.context(*seen),
                    ttl_us: None,
                };
                let outcome = if *rejected {
                    Outcome::Rejected
                } else {
                    Outcome::Unknown
                };
                self.record(kind, Consistency::QUORUM, vec![outcome]);
            }
        }
    }

    fn context(&self, seen: Option<usize>) -> Option<VersionVector> {
        let context = self.contexts[seen? % self.contexts.len()].clone();
        Some(context).filter(|context| !context.is_empty())
    }

    fn next_value(&self) -> ValueId {
        ValueId(format!("v{}", self.records.len()))
    }

    fn members(mask: u8) -> impl Iterator<Item = usize> {
        (0..REPLICAS).filter(move |replica| mask & (1 << replica) != 0)
    }

    fn wall_ms(&self, at: usize) -> u64 {
        self.now_ms + SKEW_MS * at as u64
    }

    fn receive(&mut self, at: usize, state: &KeyState) {
        let wall_ms = self.wall_ms(at);
        let replica = &mut self.replicas[at];
        if let Some(stamp) = state.max_stamp() {
            replica
                .hlc
                .observe(stamp, wall_ms)
                .expect("within the skew");
        }
        let received = replica
            .vnode
            .receive(replica.state.as_ref(), state.clone(), self.policy);
        replica.state = Some(received.expect("there is a lease").state);
    }

    fn send(&mut self, from: usize, to: u8) {
        if let Some(state) = self.replicas[from].state.clone() {
            for at in Self::members(to).filter(|at| *at != from) {
                self.receive(at, &state);
            }
        }
    }

    /// Merges what these hold; from a quorum on, as many hold it afterwards.
    fn gather(&mut self, from: u8) -> KeyState {
        let mut merged = KeyState::new();
        for at in Self::members(from) {
            if let Some(state) = &self.replicas[at].state {
                merged.sync(state);
                if self.policy == ConflictPolicy::Lww {
                    merged.reduce_lww();
                }
            }
        }
        if Self::members(from).count() >= 2 && !merged.clock().is_empty() {
            for at in Self::members(from).take(2) {
                self.receive(at, &merged);
            }
        }
        merged
    }

    fn read(&mut self, from: u8) {
        let from = (from & 7).max(1);
        let r = u8::try_from(from.count_ones()).expect("3 at most");
        let state = self.gather(from);
        let wall_ms = self.wall_ms(usize::from(from) % REPLICAS);
        let values: Vec<_> = state
            .live(wall_ms)
            .map(|sibling| (sibling.value(0).cloned(), VersionVector::from(sibling.dot)))
            .collect();
        let values = values
            .iter()
            .filter_map(|(value, own)| Some((value.as_deref()?, own.clone())));
        let version = state.max_stamp().map(|stamp| stamp.0);
        let found = Found::new(values, state.context(), version);
        self.contexts.push(state.context());
        let consistency = Consistency { n: 3, r, w: 2 };
        let kind = Kind::Get { min_context: None };
        self.record(kind, consistency, vec![Outcome::Found(found)]);
    }

    fn write(&mut self, write: &Write) {
        let context = self.context(write.seen);
        let value = self.next_value();
        // The context that it picks may be an empty one: that would be a delete of another kind.
        let write = &Write {
            delete: write.delete && (context.is_some() || write.seen.is_none()),
            ..write.clone()
        };
        let kind = if write.delete {
            Kind::Delete {
                context: context.clone(),
            }
        } else {
            Kind::Put {
                value: value.clone(),
                context: context.clone(),
                ttl_us: write.ttl_ms.map(|ttl| ttl * 1_000),
            }
        };
        if let Some(lost) = write.lost_at {
            self.attempt(lost, write.reaches >> 3, write, &value, context.as_ref());
        }
        let mut outcomes =
            vec![self.attempt(write.at, write.reaches, write, &value, context.as_ref())];
        if let Some(retry) = write.retry_at {
            let reaches = write.reaches >> 5;
            outcomes.push(self.attempt(retry, reaches, write, &value, context.as_ref()));
        }
        self.record(kind, Consistency::QUORUM, outcomes);
    }

    /// One owner's try: mints, and sends to those that it reaches.
    fn attempt(
        &mut self,
        at: usize,
        reaches: u8,
        write: &Write,
        value: &ValueId,
        sent: Option<&VersionVector>,
    ) -> Outcome {
        let mut context = sent.cloned().unwrap_or_default();
        let request_id = RequestId {
            client: 1,
            sequence: self.records.len() as u64,
        };
        if write.delete && sent.is_none() {
            let other = (at + 1) % REPLICAS;
            let state = self.gather((1 << at) | (1 << other));
            let known = state.known_request(request_id).is_some();
            if state.is_deleted(self.wall_ms(at)) && !known {
                let clock = state.context();
                return Outcome::Deleted(Deleted::new(None, clock, false));
            }
            context = state.context();
        }
        let known = self.replicas[at].state.as_ref();
        if self.policy == ConflictPolicy::Lww
            && !known.is_some_and(|state| state.clock().descends(&context))
        {
            // A read that reaches the context, merged into the minting replica.
            let reached = self.gather(7);
            self.receive(at, &reached);
        }
        let wall_ms = self.wall_ms(at);
        let replica = &mut self.replicas[at];
        let above = replica.state.as_ref().and_then(KeyState::max_stamp);
        let stamp = replica.hlc.tick(wall_ms, above).expect("within the skew");
        let new = NewWrite {
            content: if write.delete {
                Content::Tombstone
            } else {
                Content::Value(Bytes::from(value.0.clone()))
            },
            stamp,
            expires_at_ms: write
                .ttl_ms
                .filter(|_| !write.delete)
                .map(|ttl| stamp.ms() + ttl),
            request_id: Some(request_id),
        };
        let minted = replica
            .vnode
            .mint(replica.state.as_ref(), &context, new, self.policy);
        let Ok(minted) = minted else {
            return Outcome::Rejected;
        };
        replica.state = Some(minted.state.clone());
        let others = reaches & 7 & !(1 << at);
        Self::members(others).for_each(|other| self.receive(other, &minted.state));
        if others == 0 {
            return Outcome::Unknown;
        }
        context.insert(minted.dot);
        self.contexts.push(context.clone());
        if write.delete {
            return Outcome::Deleted(Deleted::new(sent, context, true));
        }
        let stamp = (!minted.replayed).then_some(stamp.0);
        let mut written = Written::new(sent, context, stamp);
        written.dot = Some(minted.dot);
        Outcome::Written(written)
    }

    fn record(&mut self, kind: Kind, consistency: Consistency, outcomes: Vec<Outcome>) {
        let number = self.records.len() as u64;
        let attempts = outcomes.into_iter().zip(0..).map(|(outcome, at)| {
            let invoked_at_us = self.now_us() + at * 10_000;
            Attempt {
                invoked_at_us,
                completed_at_us: Some(invoked_at_us + 5_000),
                outcome,
            }
        });
        let operation = Operation {
            id: OperationId(number),
            client: 1,
            session: 1,
            key: KeyName::new("kv", "k"),
            policy: self.policy.into(),
            kind,
            consistency,
            request: Some(annulus_checker::RequestName {
                client: 1,
                sequence: number,
            }),
            attempts: attempts.collect(),
        };
        self.records.push(Record::Operation(operation));
    }

    fn now_us(&self) -> u64 {
        self.now_ms * 1_000
    }

    fn record_finals(&mut self) {
        for (number, replica) in self.replicas.iter().enumerate() {
            self.records.push(Record::FinalState(FinalState {
                node: NodeId(Uuid::from_u128(number as u128)),
                key: KeyName::new("kv", "k"),
                policy: self.policy.into(),
                at_us: self.now_us(),
                state: replica.state.as_ref().map(Into::into),
            }));
        }
    }
}
