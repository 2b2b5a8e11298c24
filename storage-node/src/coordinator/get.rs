//! The driver of reads.

use std::sync::Arc;
use std::time::Duration;

use annulus_causality::{KeyState, VersionVector};
use annulus_proto::model::{ErrorCode, Outcome, RequestError};
use annulus_ring::{NodeIndex, Placement};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until};

use super::owners::{OwnerFailure, are_up, too_few};
use super::read_plan::{Answer, Ask, Finding, Question, ReadPlan, Step};
use super::request::{Found, Get};
use super::{Coordinator, MAX_ROUNDS, RoundError, placement_keeps_changing, quorum_of};
use crate::replica::KeyAddress;

/// A read never counts as slow before this: the usual variation is no sign of trouble.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(2);

/// An answer that takes this long is replaced whatever the budget says.
const LONGEST_PATIENCE: Duration = Duration::from_millis(100);

/// One read at one epoch.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) address: KeyAddress,
    /// Owners that must answer.
    pub(super) needed: usize,
    /// The answer must have seen this.
    pub(super) min_context: Option<VersionVector>,
    pub(super) deadline: Instant,
}

impl Coordinator {
    /// Reads a key. Errors are of outcome `rejected`: a read changes nothing that a client could see.
    pub(crate) async fn get(&self, get: Get) -> Result<Found, RequestError> {
        let keyspace = self.0.keyspaces.get(&get.keyspace)?.clone();
        for _ in 0..MAX_ROUNDS {
            let placement = self.0.placement.require()?;
            let read = Read {
                needed: quorum_of("r", get.read.unwrap_or(keyspace.read), &placement)?,
                address: KeyAddress::of(&placement, keyspace.clone(), get.key.clone()),
                min_context: get.min_context.clone(),
                deadline: get.deadline,
            };
            match self.read_round(&placement, &read).await {
                Ok(state) => {
                    let state = state.unwrap_or_default();
                    return Ok(Found {
                        state,
                        now_ms: self.0.clock.wall_ms(),
                    });
                }
                Err(RoundError::Failed(error)) => return Err(error),
                Err(RoundError::Stale(epoch)) => self.await_placement(epoch, get.deadline).await,
            }
        }
        Err(placement_keeps_changing())
    }

    /// Reads under one placement, and mends what is stale as far as the answer asks for it.
    pub(super) async fn read_round(
        &self,
        placement: &Arc<Placement>,
        read: &Read,
    ) -> Result<Option<KeyState>, RoundError> {
        let owners = self.by_preference(placement, &read.address);
        let count = owners.len();
        let candidates = self.up(placement, owners);
        let needed = self
            .needed(placement, &read.address, read.needed)
            .min(count);
        if candidates.len() < needed {
            let (up, what) = (candidates.len(), are_up(count - candidates.len(), count));
            return Err(too_few(&what, up, needed, None, Outcome::Rejected).into());
        }
        let evicting;
        let read = if needed == read.needed {
            read
        } else {
            evicting = Read {
                needed,
                ..read.clone()
            };
            &evicting
        };
        let finding = self.find(placement, &candidates, read).await?;
        let asks_for_more = read
            .min_context
            .as_ref()
            .is_some_and(|asked| !asked.is_empty());
        if asks_for_more && finding.merged.is_none() && candidates.len() < count {
            // Only what no owner at all has may have been reaped.
            return Err(context_not_reached().into());
        }
        if !finding.stale.is_empty() {
            self.0.metrics.digest_mismatches.inc();
            if !self
                .is_being_reaped(placement, &candidates, read, &finding)
                .await
            {
                self.mend(placement, &candidates, read, &finding).await?;
            }
        }
        Ok(finding.merged)
    }

    /// Asks owners until enough is known. Answers that are not needed any more are dropped.
    async fn find(
        &self,
        placement: &Arc<Placement>,
        candidates: &[NodeIndex],
        read: &Read,
    ) -> Result<Finding, RoundError> {
        let policy = read.address.keyspace().conflict.into();
        let min_context = read.min_context.clone();
        let mut plan = ReadPlan::new(candidates.len(), read.needed, policy, min_context);
        let mut answers = FuturesUnordered::new();
        let mut last_failure = None;
        self.0.speculation.lock().earn();
        let started = self.0.clock.now();
        let mut step = plan.start();
        let mut patience: Option<Instant> = None;
        loop {
            match step {
                Step::Wait(questions) => {
                    answers.extend(questions.into_iter().map(|question| {
                        self.ask(placement, candidates[question.0], question, read)
                    }));
                }
                Step::Done(finding) => return Ok(finding),
                Step::OutOfReach { answered } => {
                    return Err(self
                        .unanswered(read, answered, last_failure.as_ref())
                        .into());
                }
                Step::ContextNotReached => return Err(context_not_reached().into()),
            }
            let until = *patience
                .get_or_insert_with(|| started + self.patience(placement, candidates, &plan));
            step = tokio::select! {
                biased; // answers that are there count first; and no draw of lots that a seed can't repeat
                Some((question, answer)) = answers.next() => match answer {
                    Ok(answer) => plan.answered(question.0, answer),
                    Err(OwnerFailure::Stale(epoch)) => return Err(RoundError::Stale(epoch)),
                    Err(OwnerFailure::Failed(error)) => {
                        last_failure = Some(error);
                        plan.answered(question.0, Answer::Failed(question.1))
                    }
                },
                () = sleep_until(until) => {
                    let forced = self.0.clock.now() >= started + LONGEST_PATIENCE;
                    patience = Some(until.max(started) + LONGEST_PATIENCE);
                    Step::Wait(self.speculate(&mut plan, forced).into_iter().collect())
                }
                () = sleep_until(read.deadline) => {
                    return Err(self.unanswered(read, 0, last_failure.as_ref()).into());
                }
            };
        }
    }

    async fn ask(
        &self,
        placement: &Arc<Placement>,
        owner: NodeIndex,
        question: Question,
        read: &Read,
    ) -> (Question, Result<Answer, OwnerFailure>) {
        let (address, deadline) = (&read.address, read.deadline);
        let answer = match question.1 {
            Ask::State => self
                .read_state(placement, owner, address, deadline)
                .await
                .map(Answer::State),
            Ask::Digest => self
                .read_digest(placement, owner, address, deadline)
                .await
                .map(Answer::Digest),
        };
        (question, answer)
    }

    /// How long the answers may take before they count as late: the worst of what is usual.
    fn patience(
        &self,
        placement: &Arc<Placement>,
        candidates: &[NodeIndex],
        plan: &ReadPlan,
    ) -> Duration {
        let usual = |place: usize| {
            let owner = candidates[place];
            if self.is_self(placement, owner) {
                SHORTEST_PATIENCE
            } else {
                self.0.peers.late_after(placement.node(owner).id)
            }
        };
        let worst = plan
            .outstanding()
            .map(usual)
            .max()
            .unwrap_or(SHORTEST_PATIENCE);
        worst.clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE)
    }

    fn speculate(&self, plan: &mut ReadPlan, forced: bool) -> Option<Question> {
        if !forced && !self.0.speculation.lock().spend() {
            return None;
        }
        let question = plan.speculate()?;
        self.0.metrics.speculative_reads.inc();
        Some(question)
    }

    fn unanswered(
        &self,
        read: &Read,
        answered: usize,
        last: Option<&RequestError>,
    ) -> RequestError {
        if self.0.clock.now() >= read.deadline {
            let message = format!("fewer than {} replicas answered in time", read.needed);
            return RequestError::rejected(ErrorCode::Timeout, message);
        }
        too_few(
            "answered the read",
            answered,
            read.needed,
            last,
            Outcome::Rejected,
        )
    }
}

fn context_not_reached() -> RequestError {
    let message = "context not reached: no replica that answered has seen all that the context \
                   covers; try again when more replicas are up";
    RequestError::rejected(ErrorCode::QuorumUnavailable, message)
}
