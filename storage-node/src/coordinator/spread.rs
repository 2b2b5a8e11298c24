//! The way of a minted write to all owners.
//!
//! All owners are sent the state, during a move the old ones and the new ones, whoever waits; the verdict is given as
//! soon as it is certain. When the placement changes under way, the same state goes to the owners of the new one.

use std::sync::Arc;

use annulus_proto::model::{ErrorCode, Outcome, RequestError};
use annulus_proto::peer::v1::MergeReason;
use annulus_ring::{NodeIndex, Placement, RingEpoch};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::own_write::OwnWrite;
use super::owners::{OwnerFailure, SharedState, too_few};
use super::quorum::{Tally, Verdict};
use super::sloppy::{Holder, StandingIn};
use super::{Coordinator, MAX_ROUNDS, RoundError, placement_keeps_changing};
use crate::hints::KeepFor;
use crate::mistake::{self, Mistake};
use crate::peer::ForwardedAnswer;
use crate::replica::{Durable, Minted};

type Answer = Result<ForwardedAnswer, RoundError>;

/// Gives the verdict once; the client may have gone.
struct Client(Option<oneshot::Sender<Answer>>);

impl Client {
    fn tell(&mut self, answer: impl FnOnce() -> Answer) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(answer());
        }
    }
}

impl Coordinator {
    /// Sends a minted write to all owners and gives the verdict. Ends by the write's deadline.
    pub(super) async fn spread(
        &self,
        mut placement: Arc<Placement>,
        job: OwnWrite,
        minted: Minted,
        verdict: oneshot::Sender<Answer>,
    ) {
        let mut client = Client(Some(verdict));
        let Minted {
            state,
            encoded,
            clock,
            version,
            existed,
            replayed,
            durable,
        } = minted;
        let state = SharedState {
            state: Arc::unwrap_or_clone(state),
            encoded,
        };
        // A delete only gets here if there was something to delete; a retry's answer is the first one's.
        let existed = existed || replayed || job.write.value.is_none();
        let answer = ForwardedAnswer {
            clock,
            version,
            existed,
            sloppy: false,
        };
        let mut durable = Some(durable);
        for _ in 0..MAX_ROUNDS {
            let round = Round {
                placement: &placement,
                job: &job,
                state: &state,
                answer: &answer,
            };
            let Some(epoch) = self.spread_round(round, durable.take(), &mut client).await else {
                return;
            };
            self.await_placement(epoch, job.deadline).await;
            placement = self.0.placement.current().unwrap_or(placement);
        }
        let error = RequestError {
            outcome: Outcome::Unknown,
            ..placement_keeps_changing()
        };
        client.tell(|| Err(error.into()));
    }

    /// One round to the owners at one epoch. The epoch of a newer placement, if there is one.
    async fn spread_round(
        &self,
        round: Round<'_>,
        durable: Option<Durable>,
        client: &mut Client,
    ) -> Option<RingEpoch> {
        let mut tally = self.write_tally(
            round.placement,
            &round.job.address,
            round.job.write.write_quorum,
        );
        let mut by_owners = tally.clone();
        let sets = round.placement.write_sets(round.job.address.partition());
        let mut durable = durable;
        let standing_in = StandingIn::default();
        let mut replies: FuturesUnordered<_> = sets
            .targets()
            .map(|owner| {
                let is_self = self.is_self(round.placement, owner);
                let durable = if is_self { durable.take() } else { None };
                self.give_to(round, owner, durable, &standing_in)
            })
            .collect();
        let mut last = None;
        while let Some((owner, result)) = replies.next().await {
            let verdict = match result {
                Ok(Holder::Owner) => {
                    by_owners.ack(owner);
                    self.0.hints.reached(round.placement.node(owner).id);
                    tally.ack(owner)
                }
                Ok(Holder::Fallback) => tally.ack(owner),
                Err(OwnerFailure::Stale(epoch)) => return Some(epoch),
                Err(OwnerFailure::Failed(error)) => {
                    self.0.metrics.replica_write_failures.inc();
                    self.keep_for(round, owner);
                    last = Some(error);
                    tally.fail(owner)
                }
            };
            match verdict {
                Verdict::Pending => {}
                Verdict::Reached => client.tell(|| {
                    Ok(ForwardedAnswer {
                        sloppy: by_owners.verdict() != Verdict::Reached,
                        ..round.answer.clone()
                    })
                }),
                Verdict::Impossible => {
                    client.tell(|| Err(self.missed(round.job, &tally, last.as_ref()).into()));
                }
            }
        }
        None
    }

    /// Gives the state to one owner, or, where that may be, to a node that stands in for it.
    async fn give_to(
        &self,
        round: Round<'_>,
        owner: NodeIndex,
        durable: Option<Durable>,
        standing_in: &StandingIn,
    ) -> (NodeIndex, Result<Holder, OwnerFailure>) {
        let deadline = round.job.deadline;
        if !round.job.write.sloppy || self.is_self(round.placement, owner) {
            let given = self.give_to_owner(round, owner, durable, deadline).await;
            return (owner, given.map(|()| Holder::Owner));
        }
        // An owner that hangs must leave time for those who stand in for it.
        let left = deadline.saturating_duration_since(self.0.clock.now());
        let given = self.give_to_owner(round, owner, durable, deadline - left / 2);
        let given = match given.await {
            Err(OwnerFailure::Failed(error)) => {
                self.give_to_fallback(round, owner, standing_in, error)
                    .await
            }
            ended => ended.map(|()| Holder::Owner),
        };
        (owner, given)
    }

    /// An owner that missed the write is handed it later. That goes for a write that failed, too: it is on
    /// this node's disk, and will reach the others some day; better soon.
    fn keep_for(&self, round: Round<'_>, owner: NodeIndex) {
        if self.is_self(round.placement, owner) {
            return; // its own log has failed
        }
        self.0.hints.keep_later(KeepFor {
            target: round.placement.node(owner).id,
            address: round.job.address.clone(),
            state: round.state.state.clone(),
        });
    }

    /// Gives the state to one owner. At this node, in the first round, the mint itself did.
    async fn give_to_owner(
        &self,
        round: Round<'_>,
        owner: NodeIndex,
        durable: Option<Durable>,
        deadline: Instant,
    ) -> Result<(), OwnerFailure> {
        let Round {
            placement,
            job,
            state,
            ..
        } = round;
        let given = async {
            if let Some(durable) = durable {
                return durable
                    .await
                    .map_err(|error| OwnerFailure::of_own(error, placement));
            }
            if self.is_down(placement, owner) {
                return Err(passed_over(placement, owner));
            }
            let (address, reason) = (&job.address, MergeReason::Write);
            self.merge_into(placement, owner, address, state, reason, deadline)
                .await
        };
        timeout_at(deadline, given).await.unwrap_or_else(|_| {
            let message = "an owner did not confirm the write in time";
            Err(OwnerFailure::Failed(RequestError::unknown(
                ErrorCode::Timeout,
                message,
            )))
        })
    }

    fn missed(&self, job: &OwnWrite, tally: &Tally, last: Option<&RequestError>) -> RequestError {
        let (held, needed) = tally.progress();
        let mut error = too_few("hold the write", held, needed, last, Outcome::Unknown);
        if mistake::is_made(Mistake::RejectedThoughApplied) {
            error.outcome = Outcome::Rejected;
        }
        let late = error.code == ErrorCode::Timeout || self.0.clock.now() >= job.deadline;
        error.code = if late {
            ErrorCode::Timeout
        } else {
            ErrorCode::QuorumUnavailable
        };
        error
    }
}

/// An owner that is down misses the write, and nobody waits for it.
fn passed_over(placement: &Placement, owner: NodeIndex) -> OwnerFailure {
    let message = format!("node {} is down", placement.node(owner).name);
    OwnerFailure::Failed(RequestError::rejected(ErrorCode::Unavailable, message))
}

#[derive(Clone, Copy)]
pub(super) struct Round<'a> {
    pub(super) placement: &'a Placement,
    pub(super) job: &'a OwnWrite,
    pub(super) state: &'a SharedState,
    answer: &'a ForwardedAnswer,
}
