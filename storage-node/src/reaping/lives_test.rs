//! Random lives of a key on three owners, with messages that come late or never: nothing that was reaped comes
//! back, and without any one of the rules it does. The pure parts alone, in a model of a few lines.

use std::time::Duration;

use annulus_causality::{
    ConflictPolicy, Content, HlcStamp, KeyState, NewWrite, VersionVector, VnodeClock, VnodeId,
};
use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::{NodeId, PartitionId, RingEpoch};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;
use uuid::Uuid;

use super::phases::{Next, Round, confirm};
use crate::peer::NamedTombstone;
use crate::replica::tombstones::{self, Decision};
use crate::replica::{ReclaimStep, Reclaimed, TombstoneFound, TombstoneRule, TombstonesFound};

const OWNERS: usize = 3;
const STEPS: usize = 120;
/// Of every message, in milliseconds.
const DEADLINE_MS: u64 = 100;
const AT: (PartitionId, RingEpoch) = (PartitionId(0), RingEpoch(1));

const RULE: TombstoneRule = TombstoneRule {
    age: Duration::from_secs(1),
    max_clock_skew: Duration::ZERO,
};

/// What is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Each owner removes what is old.
    AllOwners,
    /// Phase 2 follows phase 1 at once.
    Waiting,
}

struct Owner {
    clock: VnodeClock,
    state: Option<KeyState>,
}

struct Message {
    to: usize,
    state: KeyState,
    deadline_ms: u64,
}

struct Life {
    chance: StdRng,
    without: Without,
    began: Instant,
    now_ms: u64,
    written: u64,
    owners: Vec<Owner>,
    messages: Vec<Message>,
    seen: VersionVector,
    round: Option<(Round, usize)>,
    /// All that was known of what was removed.
    reaped: VersionVector,
    removals: u32,
}

fn node(owner: usize) -> NodeId {
    NodeId(Uuid::from_u128(owner as u128))
}

impl Life {
    fn new(seed: u64, without: Without) -> Self {
        let owner = |number: usize| {
            let mut clock = VnodeClock::create(VnodeId(1 + number as u64));
            let lease = clock.needs_lease().expect("a new vnode needs a lease");
            clock.lease_granted(&lease);
            Owner { clock, state: None }
        };
        Self {
            chance: StdRng::seed_from_u64(seed),
            without,
            began: Instant::now(),
            now_ms: 1_000_000,
            written: 0,
            owners: (0..OWNERS).map(owner).collect(),
            messages: Vec::new(),
            seen: VersionVector::new(),
            round: None,
            reaped: VersionVector::new(),
            removals: 0,
        }
    }

    fn now(&self) -> Instant {
        self.began + Duration::from_millis(self.now_ms)
    }

    fn any(&mut self, below: usize) -> usize {
        self.chance.random_range(0..below)
    }

    fn step(&mut self) {
        match self.any(100) {
            0..2 => self.write(true),
            2..6 => self.write(false),
            6..16 => self.read(),
            16..54 => self.deliver(),
            54..62 => {
                self.now_ms += self.chance.random_range(1..60);
            }
            62..66 => self.now_ms += 1000,
            66..80 => self.begin(),
            _ => self.remove(),
        }
    }

    fn write(&mut self, is_value: bool) {
        let at = self.any(OWNERS);
        let seen = if self.any(4) == 0 {
            VersionVector::new()
        } else {
            self.seen.clone()
        };
        self.written += 1;
        let owner = &mut self.owners[at];
        let floor = owner.state.as_ref().and_then(KeyState::max_stamp);
        let now = HlcStamp::at_ms(self.now_ms);
        let write = NewWrite {
            content: if is_value {
                Content::Value(Bytes::from(self.written.to_string()))
            } else {
                Content::Tombstone
            },
            stamp: floor.map_or(now, |floor| now.max(HlcStamp(floor.0 + 1))),
            expires_at_ms: None,
            request_id: None,
        };
        let minted = owner
            .clock
            .mint(owner.state.as_ref(), &seen, write, ConflictPolicy::Siblings);
        let Ok(minted) = minted else {
            return;
        };
        owner.state = Some(minted.state.clone());
        for other in (0..OWNERS).filter(|other| *other != at) {
            self.send(other, minted.state.clone());
        }
    }

    fn send(&mut self, to: usize, state: KeyState) {
        let deadline_ms = self.now_ms + DEADLINE_MS;
        self.messages.push(Message {
            to,
            state,
            deadline_ms,
        });
    }

    /// Of two owners, with repair.
    fn read(&mut self) {
        let first = self.any(OWNERS);
        let second = (first + 1) % OWNERS;
        let mut merged = self.owners[first].state.clone().unwrap_or_default();
        merged.sync(&self.owners[second].state.clone().unwrap_or_default());
        if merged.clock().is_empty() {
            return;
        }
        self.seen = merged.context();
        self.send(first, merged.clone());
        self.send(second, merged);
    }

    fn deliver(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        let at = self.any(self.messages.len());
        let message = self.messages.swap_remove(at);
        if self.now_ms >= message.deadline_ms || self.any(8) == 0 {
            return;
        }
        let owner = &mut self.owners[message.to];
        let policy = ConflictPolicy::Siblings;
        let received = owner
            .clock
            .receive(owner.state.as_ref(), message.state, policy);
        owner.state = Some(received.expect("no vnode was rolled back").state);
    }

    /// Phase 1 by the first owner that has something to remove, and what follows from it.
    fn begin(&mut self) {
        let now_ms = self.now_ms;
        let is_due = |owner: &&Owner| {
            owner
                .state
                .as_ref()
                .is_some_and(|state| RULE.is_due(state, now_ms))
        };
        let Some(state) = self
            .owners
            .iter()
            .find(is_due)
            .and_then(|owner| owner.state.clone())
        else {
            return;
        };
        let digest = state.record_digest();
        let answers: Vec<_> = (0..OWNERS)
            .map(|owner| {
                let step = ReclaimStep::Confirm { digest };
                (node(owner), Ok(self.ask(owner, step)))
            })
            .collect();
        let found = confirm(1, &answers).expect("all answer");
        if found.confirmed.is_empty() && self.without != Without::AllOwners {
            return self.mend();
        }
        let named = NamedTombstone {
            keyspace: KeyspaceName::kv(),
            key: Key::new("k").expect("a short key"),
            digest,
        };
        let settle = match self.without {
            Without::Waiting => Duration::ZERO,
            _ => Duration::from_millis(DEADLINE_MS),
        };
        let vnodes = self.owners.iter().enumerate();
        let vnodes = vnodes.map(|(at, owner)| (node(at), owner.clock.vnode_id()));
        let round = Round::new(
            AT,
            node(0),
            vnodes.collect(),
            vec![named],
            (self.now(), settle),
        );
        self.round = Some((round, 0));
    }

    fn mend(&mut self) {
        let mut merged = KeyState::new();
        for owner in &self.owners {
            merged.sync(&owner.state.clone().unwrap_or_default());
        }
        if merged.ended_at_ms().is_some() {
            (0..OWNERS).for_each(|owner| self.send(owner, merged.clone()));
        }
    }

    /// What the committer does.
    fn ask(&mut self, owner: usize, step: ReclaimStep) -> TombstonesFound {
        let owner = &mut self.owners[owner];
        let vnode = owner.clock.vnode_id();
        let found = match tombstones::decide(RULE, vnode, owner.state.as_ref(), step, self.now_ms) {
            Decision::Remove(_) => {
                let state = owner.state.take().expect("what is removed was there");
                assert!(state.ended_at_ms().is_some(), "a value is removed");
                self.reaped.join(state.clock());
                self.removals += 1;
                TombstoneFound::Same
            }
            Decision::Sync(_) => TombstoneFound::Same,
            Decision::Keep(Reclaimed::Absent { .. }) => TombstoneFound::Absent,
            Decision::Keep(_) | Decision::Write(..) => TombstoneFound::Other,
        };
        TombstonesFound {
            vnode: Some(vnode),
            found: vec![found],
        }
    }

    /// Phase 2 at the next owner.
    fn remove(&mut self) {
        let Some((round, done)) = self.round.take() else {
            return;
        };
        match round.next(true, self.now()) {
            Next::Wait(_) => self.round = Some((round, done)),
            Next::Void => unreachable!("the epoch does not change"),
            Next::Remove => {
                let Some((owner, vnode)) = round.vnodes.get(done).copied() else {
                    return;
                };
                let at = (0..OWNERS).find(|at| node(*at) == owner).expect("an owner");
                let held = self.owners[at].state.as_ref().map(KeyState::record_digest);
                let digest = match self.without {
                    // Each looks at its own alone.
                    Without::AllOwners => held.unwrap_or_default(),
                    _ => round.tombstones[0].digest,
                };
                let found = self.ask(at, ReclaimStep::Remove { digest, vnode });
                if found.found != [TombstoneFound::Other] {
                    self.round = Some((round, done + 1));
                }
            }
        }
    }

    /// A value that was covered by something removed.
    fn resurrected(&self) -> bool {
        let states = self.owners.iter().filter_map(|owner| owner.state.as_ref());
        let mut siblings = states.flat_map(KeyState::siblings);
        siblings.any(|sibling| !sibling.content.is_tombstone() && self.reaped.covers(sibling.dot))
    }
}

/// Lives until something comes back, and what was removed in all of them.
fn lives(count: u64, without: Without) -> (Option<u64>, u32) {
    let mut removals = 0;
    for seed in 0..count {
        let mut life = Life::new(seed, without);
        for _ in 0..STEPS {
            life.step();
            if life.resurrected() {
                return (Some(seed), removals);
            }
        }
        removals += life.removals;
    }
    (None, removals)
}

#[test]
fn nothing_that_was_reaped_comes_back() {
    let (found, removals) = lives(20_000, Without::Nothing);
    assert_eq!(found, None);
    assert!(removals > 2_000, "only {removals} removals");
}

#[test]
fn without_the_other_owners_it_does() {
    assert!(lives(5_000, Without::AllOwners).0.is_some());
}

#[test]
fn without_waiting_for_requests_to_end_it_does() {
    assert!(lives(50_000, Without::Waiting).0.is_some());
}
