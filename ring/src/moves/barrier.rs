//! The barrier: when coordinators that still go by an older epoch can do no harm.
//!
//! A replica that acknowledged an epoch refuses what is stamped older. O and Nw differ by one node:
//! if the leaver refuses, all that a stale request still gets of O comes from nodes that are in Nw
//! as well, and R replies or W acknowledgements of those are a quorum of Nw; likewise the other way
//! round for the joining owner. So whoever joins or leaves must have acknowledged. Of one that was
//! given up, and that nobody can prove to be stopped, this is not known: then fewer than min(R, W)
//! nodes of its set, itself counted, may be left that could take a stale request, so that none
//! collects a quorum there.

use super::evidence::Evidence;
use super::record::Move;
use crate::node::{NodeId, NodeIndex};
use crate::placement::Placement;

/// The smallest quorums that a promise rests on: of all keyspaces whose R and W overlap, and of
/// every N that they are counted of. Requests that ask for less are promised nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The smallest R.
    pub read_min: u8,
    /// The smallest W.
    pub write_min: u8,
}

impl Rules {
    /// Where everybody asks for majorities of a partition's owners, and there are to be no fewer of them.
    pub fn of_majorities(placement: &Placement) -> Self {
        let majority = placement.fewest_owners() / 2 + 1;
        Self {
            read_min: majority,
            write_min: majority,
        }
    }

    /// How many owners must not be left behind: with as many, a stale request could succeed.
    pub(crate) fn too_many_behind(self) -> usize {
        usize::from(self.read_min.min(self.write_min)).max(1)
    }
}

/// Whose acknowledgement of the move's stage is missing; none if the barrier holds.
pub(crate) fn missing_acks(
    placement: &Placement,
    it: &Move,
    evidence: &Evidence,
    rules: Rules,
) -> Vec<NodeId> {
    let id_of = |node: NodeIndex| placement.node(node).id;
    let behind = |node: &NodeId| {
        !evidence.has_acked(*node, it.since) && !evidence.standing(*node).cannot_answer()
    };
    let needed = |node: &NodeId| {
        let lost = it.lost && it.remove.map(id_of) == Some(*node);
        behind(node) && !lost && !evidence.standing(*node).is_given_up()
    };
    let mut missing: Vec<NodeId> = it.add.into_iter().chain(it.remove).map(id_of).collect();
    missing.retain(needed);
    for (owners, alone) in [
        (placement.old_owners(it.partition()), it.remove),
        (placement.new_owners(it.partition()), it.add),
    ] {
        let left: Vec<NodeId> = owners.iter().map(id_of).filter(behind).collect();
        let unknown = alone
            .map(id_of)
            .is_some_and(|node| behind(&node) && !needed(&node));
        if unknown && left.len() >= rules.too_many_behind() {
            missing.extend(left);
        }
    }
    missing.sort_unstable();
    missing.dedup();
    missing
}
