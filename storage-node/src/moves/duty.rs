//! What a move asks of a node at its stage: pure.

use annulus_ring::{Move, NodeId, NodeIndex, Placement, Stage};

use crate::mistake::{self, Mistake};

/// What there is to do, beside waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Duty {
    /// Takes what the sources have into a copy that does not serve yet.
    Fill(Sources),
    /// Finds the copy equal to the sources', or makes it so; one that joins serves from here on.
    Verify(Sources),
    /// Brings to these whatever they lack, from a copy that nothing new comes to.
    Drain(Vec<NodeId>),
}

/// From whom a copy is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources {
    pub(super) nodes: Vec<NodeId>,
    /// The copy is whole when it has what so many of them have.
    pub(super) at_least: usize,
}

/// What the move asks of the node; `None`: nothing at present.
pub(super) fn duty(placement: &Placement, own: NodeIndex, it: &Move) -> Option<Duty> {
    match it.stage {
        Stage::Stream if it.add == Some(own) => Some(Duty::Fill(sources(placement, own, it))),
        Stage::Verify if synchronises(placement, own, it) => {
            Some(Duty::Verify(sources(placement, own, it)))
        }
        // A leaver that was given up did not drain: what the others have is compared instead.
        Stage::Cleanup if it.lost && synchronises(placement, own, it) => {
            Some(Duty::Verify(sources(placement, own, it)))
        }
        Stage::Commit if it.remove == Some(own) => {
            let new = placement.new_owners(it.partition()).iter();
            Some(Duty::Drain(
                new.map(|node| placement.node(node).id).collect(),
            ))
        }
        _ => None,
    }
}

/// Whether the move is any of the node's business.
pub(super) fn concerns(placement: &Placement, own: NodeIndex, it: &Move) -> bool {
    it.names(own) || synchronises(placement, own, it)
}

fn synchronises(placement: &Placement, own: NodeIndex, it: &Move) -> bool {
    placement.syncers(it).any(|syncer| syncer == own)
}

/// Writes that are promised to outlive a disk are on a majority at least.
fn sources(placement: &Placement, own: NodeIndex, it: &Move) -> Sources {
    let owners = placement.old_owners(it.partition()).len();
    let on_disks = if mistake::is_made(Mistake::ReplacedFromOne) {
        owners
    } else {
        owners / 2 + 1
    };
    let write_min = u8::try_from(on_disks).unwrap_or(u8::MAX);
    let found = placement.sync_sources(it, own, write_min);
    Sources {
        nodes: found.iter().map(|node| placement.node(node).id).collect(),
        at_least: found.at_least,
    }
}

#[cfg(test)]
mod tests {
    use annulus_ring::{MoveId, PartitionId, RingEpoch};

    use super::*;
    use crate::placement::tests::document_of;

    const P: PartitionId = PartitionId(1);
    const JOINS: NodeIndex = NodeIndex(4);
    const LEAVES: NodeIndex = NodeIndex(1);
    const STAYS: NodeIndex = NodeIndex(2);

    /// Partition 1 belongs to 1, 2, 3.
    fn at(stage: Stage, add: Option<NodeIndex>, lost: bool) -> Placement {
        let mut document = document_of(5, 9);
        document.moves.push(Move {
            id: MoveId {
                epoch: RingEpoch(2),
                partition: P,
            },
            add,
            remove: Some(LEAVES),
            stage,
            since: RingEpoch(9),
            lost,
        });
        if stage.serves_new() {
            document.owners[3] = add.unwrap();
        }
        document.try_into().unwrap()
    }

    fn of(placement: &Placement, own: NodeIndex) -> Option<Duty> {
        duty(placement, own, placement.move_of(P).unwrap())
    }

    fn ids(placement: &Placement, nodes: &[NodeIndex]) -> Vec<NodeId> {
        nodes.iter().map(|node| placement.node(*node).id).collect()
    }

    #[test]
    fn each_stage_asks_at_most_one_node_of_an_exchange() {
        for stage in Stage::ALL {
            let placement = at(stage, Some(JOINS), false);
            let busy: Vec<_> = placement
                .node_indexes()
                .filter(|node| of(&placement, *node).is_some())
                .collect();
            let expected = match stage {
                Stage::Stream | Stage::Verify => vec![JOINS],
                Stage::Commit => vec![LEAVES],
                _ => Vec::new(),
            };
            assert_eq!(busy, expected, "{stage}");
        }
    }

    #[test]
    fn a_living_leaver_is_the_source_and_a_lost_one_is_replaced_by_enough_survivors() {
        let placement = at(Stage::Stream, Some(JOINS), false);
        let sources = Sources {
            nodes: ids(&placement, &[LEAVES]),
            at_least: 1,
        };
        assert_eq!(of(&placement, JOINS), Some(Duty::Fill(sources)));
        let placement = at(Stage::Stream, Some(JOINS), true);
        let sources = Sources {
            nodes: ids(&placement, &[STAYS, NodeIndex(3)]),
            at_least: 2,
        };
        assert_eq!(of(&placement, JOINS), Some(Duty::Fill(sources)));
    }

    #[test]
    fn who_joined_in_the_place_of_a_lost_owner_compares_once_more_before_the_end() {
        let placement = at(Stage::Cleanup, Some(JOINS), true);
        let sources = Sources {
            nodes: ids(&placement, &[STAYS, NodeIndex(3)]),
            at_least: 2,
        };
        assert_eq!(of(&placement, JOINS), Some(Duty::Verify(sources)));
        assert_eq!(of(&placement, STAYS), None);
        let drained = at(Stage::Cleanup, Some(JOINS), false);
        assert_eq!(of(&drained, JOINS), None);
    }

    #[test]
    fn where_nobody_joins_every_owner_that_stays_takes_over_what_the_leaver_has() {
        let placement = at(Stage::Verify, None, false);
        for node in placement.node_indexes() {
            let expected = (node == STAYS || node == NodeIndex(3)).then(|| {
                Duty::Verify(Sources {
                    nodes: ids(&placement, &[LEAVES]),
                    at_least: 1,
                })
            });
            assert_eq!(of(&placement, node), expected);
        }
    }

    #[test]
    fn the_leaver_drains_to_all_new_owners() {
        let placement = at(Stage::Commit, Some(JOINS), false);
        let Some(Duty::Drain(mut to)) = of(&placement, LEAVES) else {
            panic!("it has to drain");
        };
        to.sort();
        assert_eq!(to, ids(&placement, &[STAYS, NodeIndex(3), JOINS]));
    }
}
