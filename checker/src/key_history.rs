//! Everything that a history says of one key, indexed for the rules.

use std::collections::{BTreeMap, HashMap};

use annulus_causality::{Actor, Counter, Dot, VersionVector};

use crate::history::{History, Tolerance};
use crate::operation::{
    Consistency, Deleted, Found, KeyName, Operation, OperationId, Outcome, Policy, ValueId,
    Verdict, Written,
};
use crate::record::FinalState;

/// One answered get, or one answered attempt of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading<'h> {
    pub(crate) operation: &'h Operation,
    pub(crate) invoked_at_us: u64,
    pub(crate) completed_at_us: u64,
    pub(crate) found: &'h Found,
}

impl Reading<'_> {
    pub(crate) fn consistency(&self) -> Consistency {
        self.operation.consistency
    }

    pub(crate) fn shows(&self, value: &ValueId) -> bool {
        self.found.values.iter().any(|shown| shown.value == *value)
    }
}

/// One key's part of a history. Rejected writes are left out: nothing happened.
#[derive(Debug)]
pub(crate) struct KeyHistory<'h> {
    pub(crate) name: &'h KeyName,
    pub(crate) policy: Policy,
    pub(crate) tolerance: Tolerance,
    /// Writes that happened or may have, by the time that they began.
    pub(crate) writes: Vec<&'h Operation>,
    /// Answered reads, by the time that they began.
    pub(crate) readings: Vec<Reading<'h>>,
    /// What the owners held at the end; all nodes' where no placement is recorded.
    pub(crate) finals: Vec<&'h FinalState>,
    /// The puts among the writes, by value.
    puts: HashMap<&'h ValueId, &'h Operation>,
    /// The dots that are known of each value.
    dots: HashMap<&'h ValueId, Vec<Dot>>,
    /// Counters of dots whose operation is known, by actor, ascending.
    attributed: BTreeMap<Actor, Vec<Counter>>,
    /// By the time at which answers were taken: the join of all contexts returned until then.
    seen: Vec<(u64, VersionVector)>,
    /// The readings by the time that they ended.
    readings_by_end: Vec<Reading<'h>>,
    /// From when on each put's value may have been replaced; absent: by nothing.
    pub(crate) replaced_from: HashMap<OperationId, u64>,
    /// Acknowledged writes may be lost: the keyspace does not wait for the disk.
    pub(crate) may_lose: bool,
    /// From when on the key may have been forgotten altogether; none if never.
    pub(crate) reaped_from: Option<u64>,
}

/// The keys of a history, by name.
pub(crate) fn keys(history: &History) -> Vec<KeyHistory<'_>> {
    let mut keys: BTreeMap<&KeyName, KeyHistory<'_>> = BTreeMap::new();
    let tolerance = history.tolerance();
    for operation in history.operations() {
        keys.entry(&operation.key)
            .or_insert_with(|| KeyHistory::new(&operation.key, operation.policy, tolerance))
            .add(operation);
    }
    let placement = history.placements().iter().max_by_key(|p| p.epoch());
    for state in history.final_states() {
        let owned = placement.is_none_or(|placement| {
            let (_, owners) = placement.locate(&state.key.keyspace, state.key.key.as_bytes());
            let node = placement.index_of(state.node);
            node.is_some_and(|node| owners.contains(&node))
        });
        if owned {
            keys.entry(&state.key)
                .or_insert_with(|| KeyHistory::new(&state.key, state.policy, tolerance))
                .finals
                .push(state);
        }
    }
    let mut keys: Vec<_> = keys.into_values().collect();
    for key in &mut keys {
        key.may_lose = history.may_lose(&key.name.keyspace);
        key.index();
    }
    keys
}

impl<'h> KeyHistory<'h> {
    fn new(name: &'h KeyName, policy: Policy, tolerance: Tolerance) -> Self {
        Self {
            name,
            policy,
            tolerance,
            writes: Vec::new(),
            readings: Vec::new(),
            finals: Vec::new(),
            puts: HashMap::new(),
            dots: HashMap::new(),
            attributed: BTreeMap::new(),
            seen: Vec::new(),
            readings_by_end: Vec::new(),
            replaced_from: HashMap::new(),
            may_lose: false,
            reaped_from: None,
        }
    }

    fn add(&mut self, operation: &'h Operation) {
        if operation.is_write() {
            if operation.verdict() != Verdict::Rejected {
                self.writes.push(operation);
            }
            return;
        }
        for attempt in &operation.attempts {
            if let (Outcome::Found(found), Some(completed_at_us)) =
                (&attempt.outcome, attempt.completed_at_us)
            {
                self.readings.push(Reading {
                    operation,
                    invoked_at_us: attempt.invoked_at_us,
                    completed_at_us,
                    found,
                });
            }
        }
    }

    fn index(&mut self) {
        self.readings.sort_by_key(|reading| reading.invoked_at_us);
        let mut attributed: Vec<Dot> = Vec::new();
        for write in &self.writes {
            let dots: Vec<Dot> = write.acknowledged_dots().collect();
            attributed.extend(&dots);
            if let Some(value) = write.value() {
                self.puts.insert(value, write);
                self.dots.entry(value).or_default().extend(dots);
            }
        }
        let read = self
            .readings
            .iter()
            .flat_map(|reading| &reading.found.values);
        let read = read.filter_map(|shown| Some((&shown.value, shown.dot?)));
        let held = self.finals.iter().filter_map(|state| state.state.as_ref());
        let held = held.flat_map(|state| &state.siblings);
        let held = held.filter_map(|sibling| Some((sibling.value.as_ref()?, sibling.dot)));
        for (value, dot) in read.chain(held) {
            attributed.push(dot);
            self.dots.entry(value).or_default().push(dot);
        }
        for dots in self.dots.values_mut() {
            dots.sort_unstable();
            dots.dedup();
        }
        attributed.sort_unstable();
        attributed.dedup();
        for dot in attributed {
            self.attributed
                .entry(dot.actor)
                .or_default()
                .push(dot.counter);
        }
        self.seen = self.index_seen();
        self.readings_by_end = self.readings.clone();
        self.readings_by_end
            .sort_by_key(|reading| reading.completed_at_us);
        self.replaced_from = self.index_replacements();
        self.reaped_from = self.find_reaped_from();
    }

    fn index_seen(&self) -> Vec<(u64, VersionVector)> {
        let read = self
            .readings
            .iter()
            .filter_map(|reading| Some((reading.completed_at_us, reading.found.context.as_ref()?)));
        let attempts = self.writes.iter().flat_map(|write| &write.attempts);
        let written = attempts.filter_map(|attempt| match &attempt.outcome {
            Outcome::Written(Written { context, .. })
            | Outcome::Deleted(Deleted { context, .. }) => {
                Some((attempt.completed_at_us?, context.as_ref()?))
            }
            _ => None,
        });
        let mut returned: Vec<_> = read.chain(written).collect();
        returned.sort_by_key(|&(at, _)| at);
        let mut seen = Vec::with_capacity(returned.len());
        let mut joined = VersionVector::new();
        for (at, context) in returned {
            joined.join(context);
            seen.push((at, joined.clone()));
        }
        seen
    }

    /// The readings that ended at or after that time, by the time that they ended.
    pub(crate) fn readings_ended_from(&self, from_us: u64) -> &[Reading<'h>] {
        let readings = &self.readings_by_end;
        let first = readings.partition_point(|reading| reading.completed_at_us < from_us);
        &readings[first..]
    }

    /// Whether a context that was returned before that time covers one of the dots.
    pub(crate) fn had_seen(&self, dots: &[Dot], before_us: u64) -> bool {
        let until = self.seen.partition_point(|&(at, _)| at < before_us);
        let before = until.checked_sub(1).map(|last| &self.seen[last].1);
        before.is_some_and(|seen| dots.iter().any(|dot| seen.covers(*dot)))
    }

    /// The known dots of a put.
    pub(crate) fn dots_of(&self, put: &Operation) -> &[Dot] {
        let dots = put.value().and_then(|value| self.dots.get(value));
        dots.map_or(&[], Vec::as_slice)
    }

    /// The puts that happened or may have.
    pub(crate) fn puts(&self) -> impl Iterator<Item = (&'h Operation, &'h ValueId)> + '_ {
        let puts = self.writes.iter();
        puts.filter_map(|put| Some((*put, put.value()?)))
    }

    /// The put of a value, if it happened or may have.
    pub(crate) fn put_of(&self, value: &ValueId) -> Option<&'h Operation> {
        self.puts.get(value).copied()
    }

    /// Whether the context covers an event of which no operation is known, and which nobody had seen at that time.
    pub(crate) fn covers_unknown(&self, context: &VersionVector, since_us: u64) -> bool {
        let until = self.seen.partition_point(|&(at, _)| at < since_us);
        let before = until.checked_sub(1).map(|last| &self.seen[last].1);
        context.iter().any(|(actor, counter)| {
            let old = before.map_or(0, |before| before.get(actor));
            let new = counter.saturating_sub(old);
            let known = self.attributed.get(&actor).map_or(0, |counters| {
                let below = |limit| counters.partition_point(|&known| known <= limit);
                below(counter).saturating_sub(below(old)) as u64
            });
            known < new
        })
    }

    /// Whether the operation can have but one dot.
    pub(crate) fn has_one_dot(&self, operation: &Operation) -> bool {
        !self.tolerance.lost_answers && operation.attempts.len() == 1
    }

    /// What the owners know together at the end: the join of their clocks.
    pub(crate) fn final_clock(&self) -> VersionVector {
        let mut clock = VersionVector::new();
        for state in self.finals.iter().filter_map(|state| state.state.as_ref()) {
            clock.join(&state.clock);
        }
        clock
    }

    /// When the first of the owners was looked at, at the end; none if none was.
    pub(crate) fn first_final_us(&self) -> Option<u64> {
        self.finals.iter().map(|state| state.at_us).min()
    }

    /// When the last of the owners was looked at.
    pub(crate) fn last_final_us(&self) -> Option<u64> {
        self.finals.iter().map(|state| state.at_us).max()
    }
}
