//! Under which epochs each partition may still be asked for: pure.
//!
//! A partition's fence is the last epoch at which its owners or its move changed, as far as this node can
//! tell. What was asked under an older one counted on other owners, and is refused; an epoch that changed other
//! partitions fences nothing off here. Where a node can't tell (its first placement, one that it holds after a restart,
//! epochs that it never saw), the fence is the epoch that it holds: that costs a retry, and nothing else.

use annulus_ring::{Move, NodeId, PartitionId, Placement, RingEpoch};

/// The fence of each partition of one placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fences(Vec<RingEpoch>);

impl Fences {
    /// Nothing is known of what came before.
    pub(super) fn first(placement: &Placement) -> Self {
        let partitions = placement.partitions().ids();
        Self(partitions.map(|_| placement.epoch()).collect())
    }

    /// Those of the placement that follows `held`, whose fences these are.
    pub(super) fn after(&self, held: &Placement, next: &Placement) -> Self {
        let partitions = next.partitions().ids();
        let fences = partitions.map(|partition| {
            let before = self.of(partition);
            before.max(changed_at(held, next, partition).unwrap_or(before))
        });
        Self(fences.collect())
    }

    /// Requests that were made under an older epoch are refused. Of a partition that does not exist: none is.
    pub(crate) fn of(&self, partition: PartitionId) -> RingEpoch {
        let fence = self.0.get(usize::from(partition.0));
        fence.copied().unwrap_or_default()
    }
}

/// The last epoch at which the partition may have changed on the way from one placement to a later one.
fn changed_at(held: &Placement, next: &Placement, partition: PartitionId) -> Option<RingEpoch> {
    let (before, after) = (held.move_of(partition), next.move_of(partition));
    let same_rows = ids(held, partition).eq(ids(next, partition));
    match after {
        // The move says itself when it changed last.
        Some(after) if after.since > held.epoch() => Some(after.since),
        Some(after) if same_rows && before.is_some_and(|before| is_same(before, after)) => None,
        None if same_rows && before.is_none() && is_next(held, next) => None,
        _ => Some(next.epoch()),
    }
}

/// Indexes are of their placements; identities are for ever.
fn ids(placement: &Placement, partition: PartitionId) -> impl Iterator<Item = NodeId> + '_ {
    let owners = placement.owners(partition).iter();
    owners.map(|owner| placement.node(*owner).id)
}

/// A move that entered no other stage stays what it is.
fn is_same(before: &Move, after: &Move) -> bool {
    (before.id, before.stage, before.since) == (after.id, after.stage, after.since)
}

fn is_next(held: &Placement, next: &Placement) -> bool {
    next.epoch().0 == held.epoch().0 + 1
}

#[cfg(test)]
mod tests {
    use annulus_ring::{MoveId, NodeIndex, PlacementDocument, Stage};

    use super::*;
    use crate::placement::store::tests::document_of;

    const P: PartitionId = PartitionId(1);
    const OTHER: PartitionId = PartitionId(4);

    /// Five nodes; partition 1 belongs to 1, 2, 3; with a move from 1 to 4, as `at` says.
    fn placement(epoch: u64, at: Option<(Stage, u64)>) -> Placement {
        let mut document: PlacementDocument = document_of(5, epoch);
        if let Some((stage, since)) = at {
            let (add, remove) = (NodeIndex(4), NodeIndex(1));
            document.moves.push(Move {
                id: MoveId {
                    epoch: RingEpoch(2),
                    partition: P,
                },
                add: Some(add),
                remove: Some(remove),
                stage,
                since: RingEpoch(since),
                lost: false,
            });
            if stage.serves_new() {
                document.owners[3] = add;
            }
        }
        document.try_into().unwrap()
    }

    fn walk(steps: &[Placement]) -> Fences {
        let first = Fences::first(&steps[0]);
        let pairs = steps.windows(2);
        pairs.fold(first, |fences, pair| fences.after(&pair[0], &pair[1]))
    }

    #[test]
    fn an_epoch_fences_off_what_it_changes_and_nothing_else() {
        let steps = [
            placement(1, None),
            placement(2, Some((Stage::Prepare, 2))),
            placement(3, Some((Stage::Dual, 3))),
            placement(4, Some((Stage::Dual, 3))),
        ];
        let fences = walk(&steps);
        assert_eq!(
            (fences.of(P), fences.of(OTHER)),
            (RingEpoch(3), RingEpoch(1))
        );
        let steps = [
            placement(8, Some((Stage::Commit, 7))),
            placement(9, Some((Stage::Cleanup, 9))),
            placement(10, None),
            placement(11, None),
        ];
        let mut steps = steps.to_vec();
        // The row stays the new owners' when the move is closed.
        for closed in &mut steps[2..] {
            let mut document = PlacementDocument::from(&*closed);
            (document.owners[3], document.fingerprint) = (NodeIndex(4), None);
            *closed = document.try_into().unwrap();
        }
        let fences = walk(&steps);
        assert_eq!(
            (fences.of(P), fences.of(OTHER)),
            (RingEpoch(10), RingEpoch(8))
        );
    }

    #[test]
    fn of_epochs_that_were_not_seen_only_a_move_can_tell() {
        let fences = walk(&[placement(1, None), placement(6, Some((Stage::Verify, 4)))]);
        assert_eq!(
            (fences.of(P), fences.of(OTHER)),
            (RingEpoch(4), RingEpoch(6))
        );
        // A move that began and was called off meanwhile leaves no trace.
        let fences = walk(&[placement(1, None), placement(6, None)]);
        assert_eq!(fences.of(P), RingEpoch(6));
    }

    #[test]
    fn a_stage_that_was_left_and_entered_again_is_another_one() {
        let fences = walk(&[
            placement(5, Some((Stage::Verify, 5))),
            placement(7, Some((Stage::Verify, 7))),
        ]);
        assert_eq!(fences.of(P), RingEpoch(7));
    }

    #[test]
    fn a_node_that_is_added_renumbers_others_and_changes_no_owner() {
        let held = placement(1, None);
        let mut document = document_of(5, 2);
        let mut first = document.nodes[0].clone();
        first.id = NodeId(uuid::Uuid::from_u128(0));
        first.name = "node-0".into();
        document.nodes.insert(0, first);
        document.owners.iter_mut().for_each(|owner| owner.0 += 1);
        let next = document.try_into().unwrap();
        let fences = walk(&[held, next]);
        assert_eq!(fences.of(P), RingEpoch(1));
    }
}
