//! Which copies there are to hold and to keep alike during moves: pure.

use annulus_ring::{Move, MoveId, NodeIndex, PartitionId, Placement, Stage};

use super::fences::Fences;
use crate::mistake::{self, Mistake};
use crate::replica::Held;

/// The partitions that a node holds. A leaver at CLEANUP does not any more: nothing may change the copy that it
/// deletes.
pub(super) fn held_by(placement: &Placement, node: NodeIndex, fences: &Fences) -> Vec<Held> {
    let partitions = placement.partitions_held_by(node);
    let kept = partitions.filter(|partition| !is_given_up(placement, *partition, node));
    kept.map(|partition| Held {
        partition,
        fence: fences.of(partition),
        joins: joins(placement, partition, node),
    })
    .collect()
}

fn is_given_up(placement: &Placement, partition: PartitionId, node: NodeIndex) -> bool {
    let it = placement.move_of(partition);
    let deletes_at = if mistake::is_made(Mistake::CleanupBeforeCommit) {
        Stage::ReadNew
    } else {
        Stage::Cleanup
    };
    it.is_some_and(|it| it.stage >= deletes_at && it.remove == Some(node))
}

/// The move by which a node is about to become an owner, and is none yet.
pub(crate) fn joins(
    placement: &Placement,
    partition: PartitionId,
    node: NodeIndex,
) -> Option<MoveId> {
    let it = placement.move_of(partition)?;
    (it.add == Some(node) && !it.stage.serves_new()).then_some(it.id)
}

/// Whether writes of the partition are sent to the node: then what it missed is kept for it and brought to it.
pub(crate) fn takes_writes(placement: &Placement, partition: PartitionId, node: NodeIndex) -> bool {
    let sets = placement.write_sets(partition);
    sets.first.contains(node) || sets.second.is_some_and(|second| second.contains(node))
}

/// The nodes whose copies are to be alike: those that take writes, but for one that has yet to be filled.
pub(crate) fn comparable(
    placement: &Placement,
    partition: PartitionId,
) -> impl Iterator<Item = NodeIndex> + Clone + '_ {
    let filling = |it: &Move| it.add.filter(|_| it.stage < Stage::Verify);
    let unfilled = placement.move_of(partition).and_then(filling);
    let targets = placement.write_sets(partition).targets();
    targets.filter(move |node| Some(*node) != unfilled)
}

#[cfg(test)]
mod tests {
    use annulus_ring::RingEpoch;

    use super::*;
    use crate::placement::store::tests::document_of;

    const P: PartitionId = PartitionId(1);
    const JOINS: NodeIndex = NodeIndex(4);
    const LEAVES: NodeIndex = NodeIndex(1);

    /// Partition 1 belongs to 1, 2, 3, and moves from 1 to 4.
    fn at(stage: Stage) -> Placement {
        let mut document = document_of(5, 9);
        document.moves.push(Move {
            id: MoveId {
                epoch: RingEpoch(2),
                partition: P,
            },
            add: Some(JOINS),
            remove: Some(LEAVES),
            stage,
            since: RingEpoch(9),
            lost: false,
        });
        if stage.serves_new() {
            document.owners[3] = JOINS;
        }
        document.try_into().unwrap()
    }

    #[test]
    fn who_holds_takes_writes_and_is_compared_stage_by_stage() {
        // Of the joining owner, then of the leaver: holds, takes writes, is compared.
        let rows = [
            (Stage::Prepare, [true, false, false], [true, true, true]),
            (Stage::Dual, [true, true, false], [true, true, true]),
            (Stage::Stream, [true, true, false], [true, true, true]),
            (Stage::Verify, [true, true, true], [true, true, true]),
            (Stage::ReadNew, [true, true, true], [true, true, true]),
            (Stage::Commit, [true, true, true], [true, false, false]),
            (Stage::Cleanup, [true, true, true], [false, false, false]),
        ];
        for (stage, joining, leaving) in rows {
            let placement = at(stage);
            let fences = Fences::first(&placement);
            for (node, expected) in [(JOINS, joining), (LEAVES, leaving)] {
                let held = held_by(&placement, node, &fences);
                let found = [
                    held.iter().any(|held| held.partition == P),
                    takes_writes(&placement, P, node),
                    comparable(&placement, P).any(|one| one == node),
                ];
                assert_eq!(found, expected, "{stage} {node:?}");
            }
            let joining = joins(&placement, P, JOINS).is_some();
            assert_eq!(joining, !stage.serves_new());
            assert_eq!(joins(&placement, P, LEAVES), None);
        }
    }
}
