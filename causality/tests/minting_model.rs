//! Random lives of one key on three vnodes (W = 2) with lost disks, lost keys, blind writes, torn local writes and
//! restarts. Checked: no dot ever names two values, and no acknowledged write is lost; it is there in the end, or
//! a write replaced it whose client had really seen it. Each rule of minting is then switched off in turn, to
//! show that it is needed and that this model can tell.
//!
//! `ANNULUS_MODEL_HISTORIES` sets the number of lives for each test.

use std::collections::HashMap;

use annulus_causality::{
    ConflictPolicy, Content, Dot, HlcClock, HlcStamp, KeyState, NewWrite, Rule, Sibling,
    VersionVector, VnodeClock, VnodeId, VnodeRecord,
};
use bytes::Bytes;

const HISTORIES: u64 = 20_000;
const STEPS: usize = 30;
const VNODES: usize = 3;
const CLIENTS: usize = 2;
const W: usize = 2;

/// A set of writes, by number.
type Writes = u32;

/// SplitMix64 (Steele, Lea, Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("it is below a usize")
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// What is on a disk: the state, and in truth, whose effects it includes.
#[derive(Clone, Default)]
struct Copy {
    state: KeyState,
    includes: Writes,
}

struct Vnode {
    clock: VnodeClock,
    hlc: HlcClock,
    record: VnodeRecord,
    copy: Option<Copy>,
}

impl Vnode {
    fn create(id: u64, without: Option<Rule>) -> Self {
        Self::start(VnodeClock::create(VnodeId(id)), None, without)
    }

    fn start(mut clock: VnodeClock, copy: Option<Copy>, without: Option<Rule>) -> Self {
        let record = clock.needs_lease().expect("a start needs a lease");
        clock.lease_granted(&record);
        let clock = clock.without(without);
        Self {
            clock,
            hlc: HlcClock::new(),
            record,
            copy,
        }
    }

    fn restart(&mut self, clean: bool, without: Option<Rule>) {
        let record = if clean {
            self.clock.clone().close()
        } else {
            self.record
        };
        *self = Self::start(VnodeClock::open(record, clean), self.copy.take(), without);
    }

    fn holds(&self, write: usize) -> bool {
        self.copy
            .as_ref()
            .is_some_and(|copy| values(&copy.state).any(|value| value == write))
    }

    fn receive(&mut self, incoming: &Copy, policy: ConflictPolicy) {
        let local = self.copy.as_ref();
        let received = self
            .clock
            .receive(
                local.map(|copy| &copy.state),
                incoming.state.clone(),
                policy,
            )
            .expect("no life uses up a lease");
        let includes = incoming.includes | local.map_or(0, |copy| copy.includes);
        self.copy = Some(Copy {
            state: received.state,
            includes,
        });
    }
}

/// The numbers of the writes that are siblings.
fn values(state: &KeyState) -> impl Iterator<Item = usize> {
    state.siblings().iter().map(value_of)
}

fn value_of(sibling: &Sibling) -> usize {
    match &sibling.content {
        Content::Value(value) => usize::from(value[0]),
        Content::Tombstone => unreachable!("the model only writes values"),
    }
}

/// A write that a client asked for.
struct Write {
    acked: bool,
    /// What the client had seen.
    replaces: Writes,
    stamp: HlcStamp,
}

/// A client's latest context, and in truth, what it has seen.
#[derive(Clone, Default)]
struct Session {
    context: VersionVector,
    seen: Writes,
}

#[derive(Debug, PartialEq, Eq)]
enum Violation {
    DotNamesTwoValues,
    AckedWriteLost,
    Diverged,
}

struct Life {
    random: Random,
    without: Option<Rule>,
    policy: ConflictPolicy,
    vnodes: Vec<Vnode>,
    sessions: [Session; CLIENTS],
    writes: Vec<Write>,
    names: HashMap<Dot, usize>,
    now_ms: u64,
}

impl Life {
    fn new(seed: u64, policy: ConflictPolicy, without: Option<Rule>) -> Self {
        let mut random = Random(seed);
        let vnodes = (0..VNODES)
            .map(|_| Vnode::create(random.next(), without))
            .collect();
        Self {
            random,
            without,
            policy,
            vnodes,
            sessions: <[Session; CLIENTS]>::default(),
            writes: Vec::new(),
            names: HashMap::new(),
            now_ms: 1_000_000,
        }
    }

    fn live(mut self) -> Result<(), Violation> {
        for _ in 0..STEPS {
            self.now_ms += self.random.next() % 100;
            self.step()?;
        }
        self.check_end()
    }

    fn step(&mut self) -> Result<(), Violation> {
        let vnode = self.random.below(VNODES);
        match self.random.below(100) {
            0..45 => return self.write(vnode),
            45..60 => self.read(),
            60..80 => {
                let to = (vnode + 1 + self.random.below(VNODES - 1)) % VNODES;
                self.send(vnode, to);
            }
            80..84 => self.vnodes[vnode].restart(true, self.without),
            84..90 => self.vnodes[vnode].restart(false, self.without),
            90..96 if self.may_forget(vnode) => self.vnodes[vnode].copy = None,
            96..100 if self.may_forget(vnode) => {
                self.vnodes[vnode] = Vnode::create(self.random.next(), self.without);
            }
            _ => {}
        }
        Ok(())
    }

    fn write(&mut self, vnode: usize) -> Result<(), Violation> {
        let client = self.random.below(CLIENTS);
        let blind = self.policy == ConflictPolicy::Lww || self.random.percent(40);
        let session = if blind {
            Session::default()
        } else {
            self.sessions[client].clone()
        };
        let number = self.writes.len();
        let (minted, dot) = self.mint(vnode, &session.context, number);
        self.writes.push(Write {
            acked: false,
            replaces: session.seen,
            stamp: minted.max_stamp().expect("a minted state has a sibling"),
        });

        // Peers and the own disk are written at the same time; a torn write never reaches the own disk.
        let torn = self.random.percent(20);
        let includes = self.vnodes[vnode]
            .copy
            .as_ref()
            .map_or(0, |copy| copy.includes);
        let copy = Copy {
            state: minted,
            includes: includes | session.seen | 1 << number,
        };
        let mut acks = 0;
        for to in (0..VNODES).filter(|&to| to != vnode) {
            if self.random.percent(55) {
                self.vnodes[to].receive(&copy, self.policy);
                acks += 1;
            }
        }
        if torn {
            self.vnodes[vnode].restart(false, self.without);
        } else {
            self.vnodes[vnode].copy = Some(copy.clone());
            acks += 1;
        }
        if acks >= W {
            self.writes[number].acked = true;
            // The answer does not show what else is there: it covers the write and what its client had seen.
            let mut context = session.context;
            context.insert(dot);
            self.sessions[client] = Session {
                context,
                seen: session.seen | 1 << number,
            };
        }
        match self.names.insert(dot, number) {
            Some(_) if acks > 0 => Err(Violation::DotNamesTwoValues),
            None if acks == 0 => {
                self.names.remove(&dot);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn mint(&mut self, vnode: usize, context: &VersionVector, number: usize) -> (KeyState, Dot) {
        // Each node's wall clock is off by its own amount.
        let now_ms = self.now_ms + 100 * vnode as u64;
        let Vnode {
            clock, hlc, copy, ..
        } = &mut self.vnodes[vnode];
        let local = copy.as_ref().map(|copy| &copy.state);
        let write = NewWrite {
            content: Content::Value(Bytes::from(vec![
                u8::try_from(number).expect("lives are short"),
            ])),
            stamp: hlc
                .tick(now_ms, local.and_then(KeyState::max_stamp))
                .expect("skew is small"),
            expires_at_ms: None,
            request_id: None,
        };
        let minted = clock
            .mint(local, context, write, self.policy)
            .expect("lives are short");
        (minted.state, minted.dot)
    }

    /// A client reads at two vnodes, and goes on with all that it was shown, or with one value's context alone.
    fn read(&mut self) {
        let left_out = self.random.below(VNODES);
        let mut merged = Copy::default();
        for (_, vnode) in self
            .vnodes
            .iter()
            .enumerate()
            .filter(|&(at, _)| at != left_out)
        {
            if let Some(copy) = &vnode.copy {
                merged.state.sync(&copy.state);
                merged.includes |= copy.includes;
            }
        }
        let client = self.random.below(CLIENTS);
        let siblings = merged.state.siblings();
        let goes_on_with_one = self.random.percent(40) && !siblings.is_empty();
        self.sessions[client] = if goes_on_with_one {
            let one = &siblings[self.random.below(siblings.len())];
            Session {
                context: one.dot.into(),
                seen: 1 << value_of(one),
            }
        } else {
            Session {
                context: merged.state.context(),
                seen: merged.includes,
            }
        };
    }

    /// Read repair, a hint, anti-entropy: one state reaches another vnode.
    fn send(&mut self, from: usize, to: usize) {
        if let Some(copy) = self.vnodes[from].copy.clone() {
            self.vnodes[to].receive(&copy, self.policy);
        }
    }

    /// Whether one copy survives elsewhere of everything that has to survive.
    fn may_forget(&self, vnode: usize) -> bool {
        let Some(copy) = &self.vnodes[vnode].copy else {
            return true;
        };
        // A write that replaced others answers for them; the last writer always may have.
        let must_survive = |write: &Write| {
            write.acked || write.replaces != 0 || self.policy == ConflictPolicy::Lww
        };
        values(&copy.state)
            .filter(|&value| must_survive(&self.writes[value]))
            .all(|value| {
                let mut others = self
                    .vnodes
                    .iter()
                    .enumerate()
                    .filter(|&(at, _)| at != vnode);
                others.any(|(_, other)| other.holds(value))
            })
    }

    /// Everybody tells everybody, then all must know the same, and nothing acknowledged may be missing.
    fn check_end(&mut self) -> Result<(), Violation> {
        for _ in 0..3 {
            for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 2), (2, 1), (1, 0)] {
                self.send(from, to);
            }
        }
        let states: Vec<_> = self
            .vnodes
            .iter()
            .map(|vnode| vnode.copy.clone().unwrap_or_default().state)
            .collect();
        if !states
            .iter()
            .all(|state| *state == states[0] && state.digest() == states[0].digest())
        {
            return Err(Violation::Diverged);
        }
        let mut safe: Writes = values(&states[0]).fold(0, |safe, value| safe | 1 << value);
        for (number, write) in self.writes.iter().enumerate().rev() {
            if safe & (1 << number) != 0 {
                safe |= write.replaces;
            }
        }
        let winner = states[0].max_stamp();
        let lost = self
            .writes
            .iter()
            .enumerate()
            .any(|(number, write)| match self.policy {
                ConflictPolicy::Siblings => write.acked && safe & (1 << number) == 0,
                ConflictPolicy::Lww => write.acked && winner < Some(write.stamp),
            });
        if lost {
            Err(Violation::AckedWriteLost)
        } else {
            Ok(())
        }
    }
}

/// How many of the lives broke which promise.
#[derive(Debug, Default)]
struct Tally {
    dot_names_two_values: u64,
    acked_write_lost: u64,
    diverged: u64,
    first_seed: Option<u64>,
}

impl Tally {
    fn violations(&self) -> u64 {
        self.dot_names_two_values + self.acked_write_lost + self.diverged
    }
}

fn tally(policy: ConflictPolicy, without: Option<Rule>) -> Tally {
    let lives = std::env::var("ANNULUS_MODEL_HISTORIES").map_or(HISTORIES, |count| {
        count.parse().expect("ANNULUS_MODEL_HISTORIES is a number")
    });
    let mut tally = Tally::default();
    for seed in 0..lives {
        let Err(violation) = Life::new(seed, policy, without).live() else {
            continue;
        };
        tally.first_seed.get_or_insert(seed);
        match violation {
            Violation::DotNamesTwoValues => tally.dot_names_two_values += 1,
            Violation::AckedWriteLost => tally.acked_write_lost += 1,
            Violation::Diverged => tally.diverged += 1,
        }
    }
    let percent = 100.0 * tally.violations() as f64 / lives as f64;
    println!("{policy:?} without {without:?}: {percent:.3} % of {lives} lives violated: {tally:?}");
    tally
}

#[test]
fn with_all_rules_no_dot_is_used_twice_and_nothing_acked_is_lost() {
    assert_eq!(tally(ConflictPolicy::Siblings, None).violations(), 0);
}

#[test]
fn with_all_rules_the_last_writer_wins_everywhere() {
    assert_eq!(tally(ConflictPolicy::Lww, None).violations(), 0);
}

#[test]
fn without_a_fresh_epoch_for_absent_keys_dots_are_used_twice() {
    let tally = tally(ConflictPolicy::Siblings, Some(Rule::FreshEpochWhenAbsent));
    assert!(tally.dot_names_two_values > 0);
}

#[test]
fn without_an_event_after_amnesia_dots_are_used_twice() {
    let tally = tally(ConflictPolicy::Siblings, Some(Rule::EventAfterAmnesia));
    assert!(tally.violations() > 0);
}

#[test]
fn without_distrust_after_an_unclean_start_dots_are_used_twice() {
    let tally = tally(
        ConflictPolicy::Siblings,
        Some(Rule::DistrustAfterUncleanStart),
    );
    assert!(tally.dot_names_two_values > 0);
}

#[test]
fn without_an_epoch_for_each_sibling_acked_writes_that_nobody_saw_are_replaced() {
    let tally = tally(ConflictPolicy::Siblings, Some(Rule::EpochForEachSibling));
    assert_eq!(tally.dot_names_two_values, 0);
    assert!(tally.acked_write_lost > 0);
}

#[test]
fn with_one_counter_for_the_whole_vnode_acked_writes_are_lost() {
    let tally = tally(ConflictPolicy::Siblings, Some(Rule::KeyEpochs));
    assert_eq!(tally.dot_names_two_values, 0);
    assert!(tally.acked_write_lost > 0);
}
