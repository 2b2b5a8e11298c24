//! The driver of read repair.
//!
//! Repair writes never mint; they carry the read's deadline and epoch, and go through the same merge
//! as every replica write.

use std::sync::Arc;

use annulus_causality::{KeyState, VersionVector};
use annulus_proto::model::{ErrorCode, Outcome, RequestError};
use annulus_proto::peer::v1::MergeReason;
use annulus_ring::{NodeIndex, OwnerSet, Placement};
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::get::Read;
use super::metrics::{RepairKind, RepairLabels};
use super::owners::{OwnerFailure, SharedState, too_few};
use super::quorum::Tally;
use super::read_plan::Finding;
use super::read_repair::{Repair, Spread, decide};
use super::{Coordinator, RoundError};
use crate::mistake::{self, Mistake};
use crate::replica::Write;

impl Coordinator {
    /// Whether the read met a deleted key in the middle of its removal: a tombstone that is old enough to go, and
    /// owners without a record. Copied back, it would have to be removed again, for ever if it is read often. So
    /// it is left alone, but only when every owner answers and none holds anything older that it must cover.
    pub(super) async fn is_being_reaped(
        &self,
        placement: &Arc<Placement>,
        candidates: &[NodeIndex],
        read: &Read,
        finding: &Finding,
    ) -> bool {
        if candidates.len() < placement.owners(read.address.partition()).len() {
            return false; // who is left out may hold what the tombstone has to cover
        }
        let rule = self.0.replica.tombstone_rule();
        let merged = finding.merged.as_ref();
        let Some(merged) = merged.filter(|found| rule.is_due(found, self.0.clock.wall_ms())) else {
            return false;
        };
        let others = (0..candidates.len()).filter(|place| !finding.holders.contains(place));
        let copies = others.map(|place| {
            let (owner, address) = (candidates[place], &read.address);
            self.read_state(placement, owner, address, read.deadline)
        });
        let copies = join_all(copies).await;
        let is_harmless = |copy: &Result<Option<KeyState>, OwnerFailure>| match copy {
            Ok(copy) => copy.as_ref().is_none_or(|copy| merged.dominated_by(copy)),
            Err(_) => false,
        };
        let leaves = copies.iter().all(is_harmless);
        if leaves {
            self.0.metrics.repairs_left_to_reaping.inc();
        }
        leaves
    }

    /// Brings stale owners up to what the read found, and waits for as many as the answer needs.
    pub(super) async fn mend(
        &self,
        placement: &Arc<Placement>,
        candidates: &[NodeIndex],
        read: &Read,
        finding: &Finding,
    ) -> Result<(), RoundError> {
        let owners = candidates.len();
        let write = read
            .address
            .keyspace()
            .write
            .resolve(owners)
            .unwrap_or(owners);
        let contacted = finding.holders.len() + finding.stale.len();
        let spread = Spread {
            contacted,
            holders: finding.holders.len(),
        };
        let repair = decide(spread, read.needed, owners / 2 + 1, write);
        let Some(merged) = finding.merged.clone() else {
            return Ok(()); // nobody has a record: nobody lacks one
        };
        if mistake::is_made(Mistake::RepairMints) {
            self.mint_what_was_found(placement, read, &merged).await?;
        }
        let (wanted, kind) = match repair {
            Repair::None => return Ok(()),
            Repair::Background => (None, RepairKind::Background),
            Repair::Blocking { acks } => (Some(spread.holders + acks), RepairKind::Blocking),
        };
        self.0
            .metrics
            .read_repairs
            .get_or_create(&RepairLabels { kind })
            .inc();
        let state = SharedState {
            encoded: merged.encode(),
            state: merged,
        };
        // Owners that the read did not ask come last: they help when a stale one fails.
        let stale = finding.stale.iter().map(|place| candidates[*place]);
        let spare = (0..owners)
            .filter(|place| !finding.holders.contains(place) && !finding.stale.contains(place))
            .map(|place| candidates[place])
            .collect();
        // During a move, who takes writes and is not read as well: else the other set of owners would lack it.
        let readers = placement.readers(read.address.partition());
        let beside = placement.write_sets(read.address.partition()).targets();
        let beside = beside.filter(|node| !readers.contains(node));
        let targets = stale.chain(beside).collect();
        let tally = wanted.map(|wanted| {
            let sets = placement.write_sets(read.address.partition());
            let mut tally = Tally::new(sets.iter().map(OwnerSet::iter), wanted);
            for place in &finding.holders {
                tally.ack(candidates[*place]);
            }
            tally
        });
        self.merge_until(placement, read, state, (targets, spare), tally)
            .await
    }

    /// The mistake [`Mistake::RepairMints`].
    async fn mint_what_was_found(
        &self,
        placement: &Arc<Placement>,
        read: &Read,
        found: &KeyState,
    ) -> Result<(), RoundError> {
        for sibling in found.siblings() {
            let write = Write {
                address: read.address.clone(),
                content: sibling.value(0).cloned(),
                context: VersionVector::new(),
                ttl: None,
                request_id: None,
                deadline: read.deadline,
                fence: placement.epoch(),
            };
            let minted = self.0.replica.mint(write).await;
            minted.map_err(|error| OwnerFailure::of_own(error, placement))?;
        }
        Ok(())
    }

    /// Merges a state into all `targets`, and into a spare for each that fails while the tally lacks some; without one,
    /// nobody waits.
    async fn merge_until(
        &self,
        placement: &Arc<Placement>,
        read: &Read,
        state: SharedState,
        (targets, mut spare): (Vec<NodeIndex>, Vec<NodeIndex>),
        tally: Option<Tally>,
    ) -> Result<(), RoundError> {
        let mut results = self.merge_in_background(placement, read, state.clone(), targets);
        let Some(mut tally) = tally else {
            return Ok(());
        };
        let mut last = None;
        while tally.missing() > 0 {
            let result = timeout_at(read.deadline, results.recv()).await;
            match result.map_err(|_| late(read))? {
                Some((owner, Ok(()))) => {
                    tally.ack(owner);
                }
                Some((_, Err(OwnerFailure::Stale(epoch)))) => return Err(RoundError::Stale(epoch)),
                Some((_, Err(OwnerFailure::Failed(error)))) => last = Some(error),
                None => {
                    let Some(next) = spare.pop() else {
                        let what = "hold what the read repairs";
                        let (held, needed) = tally.progress();
                        let error = too_few(what, held, needed, last.as_ref(), Outcome::Rejected);
                        return Err(error.into());
                    };
                    results = self.merge_in_background(placement, read, state.clone(), vec![next]);
                }
            }
        }
        Ok(())
    }

    /// Goes on when nobody waits for the results any more.
    fn merge_in_background(
        &self,
        placement: &Arc<Placement>,
        read: &Read,
        state: SharedState,
        targets: Vec<NodeIndex>,
    ) -> mpsc::Receiver<(NodeIndex, Result<(), OwnerFailure>)> {
        let (sender, results) = mpsc::channel(targets.len().max(1));
        let (coordinator, placement, read) = (self.clone(), placement.clone(), read.clone());
        self.0.tasks.spawn(async move {
            let mut merges: FuturesUnordered<_> = targets
                .into_iter()
                .map(|owner| {
                    let reason = MergeReason::ReadRepair;
                    let (address, deadline) = (&read.address, read.deadline);
                    let merged = coordinator
                        .merge_into(&placement, owner, address, &state, reason, deadline);
                    async move { (owner, merged.await) }
                })
                .collect();
            while let Some(result) = merges.next().await {
                let _ = sender.try_send(result); // there is room for all; nobody may be waiting
            }
        });
        results
    }
}

fn late(read: &Read) -> RoundError {
    let message = format!(
        "the read of {} found a write on too few replicas, and could not repair it in time",
        read.address.key()
    );
    RequestError::rejected(ErrorCode::Timeout, message).into()
}
