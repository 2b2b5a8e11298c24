//! The nodes' reports in the form that the stage machine takes.

use annulus_ring::{Evidence, Node, NodeReport as RingReport, Placement, Standing};

use crate::membership::moving::losses::Losses;
use crate::membership::view::Observed;

/// What is known of every member.
pub(super) fn evidence(ring: &Placement, observed: &Observed, losses: &Losses) -> Evidence {
    let members = ring.nodes().iter();
    Evidence(
        members
            .map(|member| (member.id, report(member, observed, losses)))
            .collect(),
    )
}

/// A pod that is not in the API any more may still run somewhere, cut off: so nobody is taken
/// for fenced. That a disk never returns is for a person to say.
fn report(member: &Node, observed: &Observed, losses: &Losses) -> RingReport {
    if observed.report_of(member).is_some() {
        let node = observed.nodes.get(&member.name);
        let moves = node.and_then(|node| node.moves.as_ref());
        return RingReport {
            standing: Standing::Alive,
            acked: moves.map(|moves| moves.acked).unwrap_or_default(),
            moves: moves
                .iter()
                .flat_map(|moves| &moves.moves)
                .map(|it| it.report.clone())
                .collect(),
        };
    }
    let standing = if observed.destroyed.contains(&member.id) {
        Standing::Destroyed
    } else if losses.given_up.contains(&member.id) || losses.replaced.contains(&member.id) {
        Standing::GivenUp
    } else {
        Standing::Silent
    };
    RingReport {
        standing,
        ..RingReport::default()
    }
}
