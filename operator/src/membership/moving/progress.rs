//! How much is left to do.

use annulus_ring::{Move, Placement, Stage};

use crate::membership::view::Observed;
use crate::node_client::MoveProgress;

/// What is left to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remaining {
    /// Moves that are not over, those included that have not begun.
    pub(crate) moves: usize,
    /// Bytes to copy, estimated where no node says so.
    pub(crate) bytes: u64,
}

/// Counts what is left: the moves under way, and `left` that are to begin.
pub(super) fn remaining(ring: &Placement, observed: &Observed, left: usize) -> Remaining {
    let each = bytes_per_vnode(ring, observed);
    let under_way = ring.moves().iter();
    let under_way: u64 = under_way.map(|it| to_copy(ring, observed, it, each)).sum();
    let left_bytes = each.saturating_mul(u64::try_from(left).unwrap_or(u64::MAX));
    Remaining {
        moves: ring.moves().len() + left,
        bytes: under_way.saturating_add(left_bytes),
    }
}

fn to_copy(ring: &Placement, observed: &Observed, it: &Move, each: u64) -> u64 {
    let Some(joins) = it.add.filter(|_| it.stage <= Stage::Stream) else {
        return 0;
    };
    let node = observed.nodes.get(&ring.node(joins).name);
    let moves = node.and_then(|node| node.moves.as_ref());
    let told = moves.and_then(|moves| {
        let mut all = moves.moves.iter();
        all.find(|progress| progress.report.id == it.id)
    });
    told.map_or(each, |progress| still_to_copy(progress, each))
}

fn still_to_copy(progress: &MoveProgress, each: u64) -> u64 {
    let expected = match progress.expected_bytes {
        0 => each,
        bytes => bytes,
    };
    expected.saturating_sub(progress.report.streamed.bytes)
}

/// Bytes of a vnode, on average over the nodes that answer.
pub(super) fn bytes_per_vnode(ring: &Placement, observed: &Observed) -> u64 {
    let members = ring.nodes().iter();
    let reports = members.filter_map(|member| observed.report_of(member));
    let (bytes, vnodes) = reports.fold((0_u64, 0_u64), |(bytes, vnodes), report| {
        (
            bytes.saturating_add(report.data_bytes),
            vnodes.saturating_add(u64::from(report.vnodes)),
        )
    });
    bytes / vnodes.max(1)
}
