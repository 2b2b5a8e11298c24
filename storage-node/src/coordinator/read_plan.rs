//! Which owners a read asks, for what, and when it knows enough: pure.
//!
//! One owner sends the whole state, R-1 more only its digest. When the digests differ, all that
//! answered send the state and the reader gets the merge. An owner that fails or is slow is replaced
//! by the next. With a context that the answer must reach, the read widens up to all owners; when all of
//! them have no record, the key has been reaped (`reaping`), and that is the answer.
//!
//! Invariants: a finished read rests on at least R owners' answers of this round; an owner counts
//! once; every owner is asked at most twice (a digest, then the state).
//!
//! Leaves to others: asking ([`super::get`]), and mending what is stale ([`super::read_repair`]).

use annulus_causality::{ConflictPolicy, KeyState, VersionVector};

use super::merge_replies::{holds, merge_replies};
use crate::mistake::{self, Mistake};

/// What to ask an owner for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The whole state.
    State,
    /// Its digest.
    Digest,
}

/// What became of asking an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The state; `None` when the owner has no record of the key.
    State(Option<KeyState>),
    /// The digest; `None` when the owner has no record of the key.
    Digest(Option<u64>),
    /// No answer to that question will come.
    Failed(Ask),
}

/// One question: the owner's place among the candidates, and what to ask for.
pub(crate) type Question = (usize, Ask);

/// What to do next.
#[expect(
    clippy::large_enum_variant,
    reason = "made a few times for each read, and never stored"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask these (maybe none), and wait for answers.
    Wait(Vec<Question>),
    /// The read knows enough.
    Done(Finding),
    /// Too few owners can answer.
    OutOfReach {
        /// Owners that did.
        answered: usize,
    },
    /// As many as asked for answered, and no owner has seen what the client's context covers.
    ContextNotReached,
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What the answering owners know together.
    pub(crate) merged: Option<KeyState>,
    /// The places of owners that hold all of it.
    pub(crate) holders: Vec<usize>,
    /// The places of owners that answered and lack something.
    pub(crate) stale: Vec<usize>,
}

#[derive(Debug, Clone)]
enum Slot {
    Unasked,
    Asked(Ask),
    Digest(Option<u64>),
    State(Option<KeyState>),
    Failed,
}

/// The state of one read. Candidates are owners, best first, known here by their place.
#[derive(Debug, Clone)]
pub(crate) struct ReadPlan {
    slots: Vec<Slot>,
    needed: usize,
    policy: ConflictPolicy,
    min_context: Option<VersionVector>,
    /// Digests are of no use any more: they differed, or the client's context isn't reached.
    states_only: bool,
}

impl ReadPlan {
    /// A read of `needed` of the candidates: at least 1, at most all.
    pub(crate) fn new(
        candidates: usize,
        needed: usize,
        policy: ConflictPolicy,
        min_context: Option<VersionVector>,
    ) -> Self {
        assert!(
            (1..=candidates).contains(&needed),
            "a read of {needed} of {candidates}"
        );
        let slots = vec![Slot::Unasked; candidates];
        Self {
            slots,
            needed,
            policy,
            min_context,
            states_only: false,
        }
    }

    /// The first questions.
    pub(crate) fn start(&mut self) -> Step {
        self.step()
    }

    /// An answer came. One that nobody waits for any more changes nothing.
    pub(crate) fn answered(&mut self, place: usize, answer: Answer) -> Step {
        let slot = &mut self.slots[place];
        match (&*slot, answer) {
            (Slot::Asked(_), Answer::State(state)) => *slot = Slot::State(state),
            (Slot::Asked(Ask::Digest), Answer::Digest(digest)) => *slot = Slot::Digest(digest),
            (Slot::Asked(asked), Answer::Failed(ask)) if *asked == ask => *slot = Slot::Failed,
            _ => {}
        }
        self.step()
    }

    /// The answers are late: one more owner to ask, if there is one.
    pub(crate) fn speculate(&mut self) -> Option<Question> {
        let place = self.place_of(|slot| matches!(slot, Slot::Unasked))?;
        let has_state = self.slots.iter().any(|slot| matches!(slot, Slot::State(_)));
        let ask = if self.states_only || !has_state {
            Ask::State
        } else {
            Ask::Digest
        };
        self.slots[place] = Slot::Asked(ask);
        Some((place, ask))
    }

    /// The places of owners whose answers are waited for.
    pub(crate) fn outstanding(&self) -> impl Iterator<Item = usize> + '_ {
        let asked = |slot: &Slot| matches!(slot, Slot::Asked(_));
        self.slots
            .iter()
            .enumerate()
            .filter(move |(_, slot)| asked(slot))
            .map(|(place, _)| place)
    }

    fn step(&mut self) -> Step {
        let able = self.places(|slot| !matches!(slot, Slot::Failed)).len();
        if able < self.needed {
            let has_answered = |slot: &Slot| matches!(slot, Slot::Digest(_) | Slot::State(_));
            return Step::OutOfReach {
                answered: self.places(has_answered).len(),
            };
        }
        if !self.states_only {
            if let Some(finding) = self.agreed() {
                if self.reaches_context(finding.merged.as_ref()) {
                    return Step::Done(finding);
                }
                self.states_only = true;
            } else if self.disagree() {
                self.states_only = true;
            }
        }
        if self.states_only {
            self.step_with_states()
        } else {
            self.step_with_digests()
        }
    }

    /// As many as needed answered, one with the state, and all the same.
    fn agreed(&self) -> Option<Finding> {
        let answered = self.places(|slot| matches!(slot, Slot::Digest(_) | Slot::State(_)));
        let state = self.slots.iter().find_map(|slot| match slot {
            Slot::State(state) => Some(state),
            _ => None,
        })?;
        (answered.len() >= self.needed && !self.disagree()).then(|| Finding {
            merged: state.clone(),
            holders: answered,
            stale: Vec::new(),
        })
    }

    fn disagree(&self) -> bool {
        if mistake::is_made(Mistake::DigestsIgnored) {
            return false;
        }
        let mut digests = self.slots.iter().filter_map(|slot| match slot {
            Slot::Digest(digest) => Some(*digest),
            Slot::State(state) => Some(state.as_ref().map(KeyState::digest)),
            _ => None,
        });
        digests
            .next()
            .is_some_and(|first| digests.any(|digest| digest != first))
    }

    fn step_with_digests(&mut self) -> Step {
        let mut questions = Vec::new();
        let is_state = |slot: &Slot| matches!(slot, Slot::State(_) | Slot::Asked(Ask::State));
        if !self.slots.iter().any(is_state) {
            // Nobody sends the state: the next owner shall, or one that sent its digest.
            let place = self
                .place_of(|slot| matches!(slot, Slot::Unasked))
                .or_else(|| self.place_of(|slot| matches!(slot, Slot::Digest(_))));
            self.ask(place, Ask::State, &mut questions);
        }
        self.ask_more(Ask::Digest, &mut questions);
        Step::Wait(questions)
    }

    fn step_with_states(&mut self) -> Step {
        let mut questions = Vec::new();
        for place in self.places(|slot| matches!(slot, Slot::Digest(_) | Slot::Asked(Ask::Digest)))
        {
            self.ask(Some(place), Ask::State, &mut questions);
        }
        let states = self.places(|slot| matches!(slot, Slot::State(_)));
        if states.len() >= self.needed {
            let finding = self.merge(&states);
            if self.reaches_context(finding.merged.as_ref()) {
                return Step::Done(finding);
            }
            for place in self.places(|slot| matches!(slot, Slot::Unasked)) {
                self.ask(Some(place), Ask::State, &mut questions);
            }
            if self.outstanding().next().is_none() {
                return if self.nobody_has_it() {
                    Step::Done(finding)
                } else {
                    Step::ContextNotReached
                };
            }
        }
        self.ask_more(Ask::State, &mut questions);
        Step::Wait(questions)
    }

    fn merge(&self, places: &[usize]) -> Finding {
        let state = |place: usize| match &self.slots[place] {
            Slot::State(state) => state.as_ref(),
            _ => None,
        };
        let merged = merge_replies(places.iter().map(|place| state(*place)), self.policy);
        let (holders, stale) = places
            .iter()
            .partition(|place| holds(state(**place), merged.as_ref()));
        Finding {
            merged,
            holders,
            stale,
        }
    }

    fn reaches_context(&self, merged: Option<&KeyState>) -> bool {
        match (&self.min_context, merged) {
            (None, _) => true,
            (Some(context), None) => context.is_empty(),
            (Some(context), Some(merged)) => merged.clock().descends(context),
        }
    }

    /// All owners answered, and none has a record: what the context covers was deleted and has been reaped.
    fn nobody_has_it(&self) -> bool {
        let is_absent = |slot: &Slot| matches!(slot, Slot::State(None));
        self.slots.iter().all(is_absent)
    }

    fn ask(&mut self, place: Option<usize>, ask: Ask, questions: &mut Vec<Question>) {
        if let Some(place) = place {
            self.slots[place] = Slot::Asked(ask);
            questions.push((place, ask));
        }
    }

    /// As many owners as it takes for enough answers, if those that were asked all give one.
    fn ask_more(&mut self, ask: Ask, questions: &mut Vec<Question>) {
        let in_play = self
            .places(|slot| !matches!(slot, Slot::Unasked | Slot::Failed))
            .len();
        let unasked = self.places(|slot| matches!(slot, Slot::Unasked));
        for place in unasked
            .into_iter()
            .take(self.needed.saturating_sub(in_play))
        {
            self.ask(Some(place), ask, questions);
        }
    }

    fn place_of(&self, wanted: impl Fn(&Slot) -> bool) -> Option<usize> {
        self.slots.iter().position(wanted)
    }

    fn places(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<usize> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, slot)| wanted(slot))
            .map(|(place, _)| place)
            .collect()
    }
}

#[cfg(test)]
#[path = "read_plan_test.rs"]
mod tests;
