//! One round of whoever changes a ring: the moves that begin, the stages that change, and the placement that follows
//! of both. For those to whom every plan may begin at once; the operator waits for approvals in between.

use thiserror::Error;

use super::advance::advance;
use super::apply::ApplyError;
use super::barrier::Rules;
use super::evidence::Evidence;
use super::limits::MoveLimits;
use super::plan::{Desired, next_batch};
use super::wait::Wait;
use crate::placement::Placement;
use crate::transfer_plan::PlanError;

/// What a round comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Round {
    /// The ring is as is desired.
    Settled,
    /// Nodes have something to do first: what, as far as moves under way tell. None is under way, and the list empty, as
    /// long as the nodes that the next ones need are away.
    Waits(Vec<Wait>),
    /// The next epoch: to be recorded, and handed to the nodes.
    Next(Box<Placement>),
}

/// Why there is no round. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RoundError {
    /// No plan leads to what is desired.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// What was planned makes no placement.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// Decides from the placement, what is desired and what nodes report. Nothing is remembered between rounds. Moves under
/// way go on where no plan leads to what is desired; that is told once there is nothing else to do.
pub fn round(
    placement: &Placement,
    desired: &Desired<'_>,
    evidence: &Evidence,
    (rules, limits): (Rules, MoveLimits),
) -> Result<Round, RoundError> {
    let planned = next_batch(placement, desired, limits);
    let batch = planned.as_ref().cloned().unwrap_or_default();
    let stages = advance(placement, evidence, rules, &batch.cancel);
    let changes = [stages.changes, batch.changes].concat();
    if !changes.is_empty() {
        return Ok(Round::Next(Box::new(placement.apply(&changes)?)));
    }
    planned?;
    Ok(if batch.left == 0 && placement.moves().is_empty() {
        Round::Settled
    } else {
        Round::Waits(stages.waits)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::moves::Change;
    use crate::node::Node;
    use crate::partition::ReplicationFactor;
    use crate::placement::tests::document;
    use crate::transfer_plan::found;

    fn go(ring: &Placement, nodes: &[Node]) -> Result<Round, RoundError> {
        let none = BTreeSet::new();
        let desired = Desired {
            nodes,
            replication_factor: ring.replication_factor(),
            gone: &none,
            away: &none,
        };
        let rules = Rules::of_majorities(ring);
        round(
            ring,
            &desired,
            &Evidence::default(),
            (rules, MoveLimits::default()),
        )
    }

    #[test]
    fn quorums_are_of_as_many_owners_as_there_are_while_their_number_grows() {
        let ring: Placement = document().try_into().unwrap();
        let before = ring.fewest_owners();
        assert_eq!(before, ring.replication_factor().get());
        let more = ReplicationFactor::new(before + 2).unwrap();
        let grows = ring.apply(&[Change::ReplicationFactor(more)]).unwrap();
        assert_eq!(grows.fewest_owners(), before);
        let rules = Rules::of_majorities(&grows);
        assert_eq!(rules, Rules::of_majorities(&ring));
    }

    #[test]
    fn a_ring_rests_begins_to_change_and_waits_for_its_nodes() {
        let of = document();
        let (all, few) = (&of.nodes, &of.nodes[..3]);
        let found = found(
            of.cluster_id,
            of.hash_seed,
            of.partitions,
            of.replication_factor,
            few,
        );
        let ring = found.unwrap();
        assert_eq!(go(&ring, few), Ok(Round::Settled));
        let Ok(Round::Next(next)) = go(&ring, all) else {
            panic!("a node is to join");
        };
        assert!(next.epoch() > ring.epoch() && !next.moves().is_empty());
        let Ok(Round::Waits(waits)) = go(&next, all) else {
            panic!("nobody has reported anything");
        };
        assert_eq!(waits.len(), next.moves().len());
        let refused = go(&ring, &few[..1]);
        let Err(RoundError::Plan(PlanError::TooFewNodes { .. })) = refused else {
            panic!("one node can't hold two copies: {refused:?}");
        };
    }
}
