//! The way of a minted write to all owners.
//!
//! All owners are sent the state, whoever waits; the verdict is given as soon as it is certain. When
//! the placement changes under way, the same state goes to the owners of the new one.

use std::sync::Arc;

use annulus_proto::model::{ErrorCode, Outcome, RequestError};
use annulus_proto::peer::v1::MergeReason;
use annulus_ring::{NodeIndex, Placement, RingEpoch};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::own_write::OwnWrite;
use super::owners::{OwnerFailure, SharedState, too_few};
use super::quorum::{Tally, Verdict};
use super::{Coordinator, MAX_ROUNDS, RoundError, placement_keeps_changing};
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
        let owners = round.placement.owners(round.job.address.partition());
        let mut needed = round.job.write.write_quorum.min(owners.len());
        if mistake::is_made(Mistake::OneAckTooFew) {
            needed = needed.saturating_sub(1).max(1);
        }
        let mut tally = Tally::new(owners, needed);
        let mut durable = durable;
        let mut replies: FuturesUnordered<_> = owners
            .iter()
            .map(|owner| {
                let is_self = self.is_self(round.placement, *owner);
                let durable = if is_self { durable.take() } else { None };
                self.give_to(round, *owner, durable)
            })
            .collect();
        let mut last = None;
        while let Some((owner, result)) = replies.next().await {
            let verdict = match result {
                Ok(()) => tally.ack(owner),
                Err(OwnerFailure::Stale(epoch)) => return Some(epoch),
                Err(OwnerFailure::Failed(error)) => {
                    self.0.metrics.replica_write_failures.inc();
                    last = Some(error);
                    tally.fail(owner)
                }
            };
            match verdict {
                Verdict::Pending => {}
                Verdict::Reached => client.tell(|| Ok(round.answer.clone())),
                Verdict::Impossible => {
                    client
                        .tell(|| Err(self.missed(round.job, &tally, needed, last.as_ref()).into()));
                }
            }
        }
        None
    }

    /// Gives the state to one owner. At this node, in the first round, the mint itself did.
    async fn give_to(
        &self,
        round: Round<'_>,
        owner: NodeIndex,
        durable: Option<Durable>,
    ) -> (NodeIndex, Result<(), OwnerFailure>) {
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
            let (address, reason) = (&job.address, MergeReason::Write);
            self.merge_into(placement, owner, address, state, reason, job.deadline)
                .await
        };
        let given = timeout_at(job.deadline, given).await.unwrap_or_else(|_| {
            let message = "an owner did not confirm the write in time";
            Err(OwnerFailure::Failed(RequestError::unknown(
                ErrorCode::Timeout,
                message,
            )))
        });
        (owner, given)
    }

    fn missed(
        &self,
        job: &OwnWrite,
        tally: &Tally,
        needed: usize,
        last: Option<&RequestError>,
    ) -> RequestError {
        let mut error = too_few(
            "hold the write",
            tally.acks(),
            needed,
            last,
            Outcome::Unknown,
        );
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

#[derive(Clone, Copy)]
struct Round<'a> {
    placement: &'a Placement,
    job: &'a OwnWrite,
    state: &'a SharedState,
    answer: &'a ForwardedAnswer,
}
