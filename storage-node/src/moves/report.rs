//! What is shown of this node's part in moves: the evidence on which the operator lets them go on.

use annulus_ring::{Move, MoveId, NodeId, NodeIndex, Placement, Stage};

use super::Obstacle;
use super::duty::concerns;
use super::filling::streamed;
use super::findings::{Board, Streamed};
use crate::replica::{Replica, VnodeStatus};
use crate::storage::free_space::Room;

/// Of one move, under the placement in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MoveReport {
    pub(crate) id: MoveId,
    /// Its stage as this node sees it.
    pub(crate) stage: Stage,
    /// The copy that joins is there, and there is room for it.
    pub(crate) ready: bool,
    pub(crate) streamed: Streamed,
    /// Bytes that the sources have, about.
    pub(crate) expected_bytes: u64,
    /// Nodes whose copies were found the same.
    pub(crate) verified: Vec<NodeId>,
    /// New owners that lack nothing of the copy that leaves.
    pub(crate) drained: Vec<NodeId>,
    /// The copy that leaves is deleted.
    pub(crate) cleaned: bool,
    /// What holds up this node's part.
    pub(crate) obstacle: Option<String>,
}

/// Of all moves that concern this node.
pub(super) fn of_all(
    placement: &Placement,
    own: NodeIndex,
    replica: &Replica,
    board: &Board,
) -> Vec<MoveReport> {
    let released = replica.released();
    let concerning = placement.moves().iter();
    let concerning = concerning.filter(|it| concerns(placement, own, it));
    let reports = concerning.map(|it| {
        let copy = replica.vnode(it.partition());
        let is_gone = copy.is_none() && !released.contains(&it.partition());
        let cleaned = it.stage == Stage::Cleanup && it.remove == Some(own) && is_gone;
        let mut report = MoveReport {
            id: it.id,
            stage: it.stage,
            ready: false,
            streamed: Streamed::default(),
            expected_bytes: 0,
            verified: Vec::new(),
            drained: Vec::new(),
            cleaned,
            obstacle: board.obstacle(it),
        };
        if let Some(copy) = copy {
            report.add_copy(it, own, &copy, (replica.room(), board));
        }
        report
    });
    reports.collect()
}

/// A copy that was lost is made anew as long as there is room for background work at all.
fn is_enough(it: &Move, room: Room) -> bool {
    room == Room::Plenty || (it.lost && room == Room::Low)
}

impl MoveReport {
    fn add_copy(
        &mut self,
        it: &Move,
        own: NodeIndex,
        copy: &VnodeStatus,
        (room, board): (Room, &Board),
    ) {
        if it.add == Some(own) {
            let was_made = copy.joined == Some(it.id) && !copy.is_damaged;
            // Later the copy grows anyway, and only what fills it up waits for room.
            let has_room = it.stage > Stage::Prepare || is_enough(it, room);
            self.ready = was_made && has_room;
            if was_made && !has_room {
                let room = room.as_str();
                self.obstacle = Some(Obstacle::NoRoom { room }.to_string());
            }
        }
        board.about(it, copy.vnode_id, |found| {
            self.expected_bytes = found.expected.values().sum();
            self.verified = found.verified.iter().copied().collect();
            self.drained = found.drained.iter().copied().collect();
            self.streamed = match &copy.rebuilding {
                Some(rebuilding) => streamed(rebuilding),
                None => found.streamed.clone(),
            };
        });
    }
}

#[cfg(test)]
mod tests {
    use annulus_ring::{PartitionId, RingEpoch};

    use super::*;

    #[test]
    fn a_disk_that_runs_low_takes_lost_copies_and_no_others() {
        let swap = Move {
            id: MoveId {
                epoch: RingEpoch(2),
                partition: PartitionId(1),
            },
            add: Some(NodeIndex(1)),
            remove: Some(NodeIndex(2)),
            stage: Stage::Prepare,
            since: RingEpoch(2),
            lost: false,
        };
        let lost = Move { lost: true, ..swap };
        let takes = |it: &Move| {
            [Room::Plenty, Room::Low, Room::NoBackground].map(|room| is_enough(it, room))
        };
        assert_eq!(takes(&swap), [true, false, false]);
        assert_eq!(takes(&lost), [true, true, false]);
    }
}
