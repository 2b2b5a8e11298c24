//! Changes who is in the ring, as the operator does: by the ring's planner and stage machine, what the nodes report
//! of their moves, and one placement after the other. Every node is there all the time.

use std::collections::BTreeSet;
use std::time::Duration;

use annulus_ring::{
    Desired, Evidence, MoveLimits, Node, NodeReport, Placement, Round, Rules, Standing, round,
};
use anyhow::{Context as _, Result, bail};
use futures::future::{join_all, try_join_all};
use tokio::time::{Instant, sleep};

use crate::admin;
use crate::ring::Ring;

/// Between two looks at what nodes report.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// No change of a run takes longer.
const REACHED_WITHIN: Duration = Duration::from_secs(600);

/// What a change has come to.
#[derive(Debug)]
pub(crate) struct Reshaped {
    /// The ring's placement now.
    pub(crate) placement: Placement,
    /// Moves that it took.
    pub(crate) moves: usize,
}

/// Makes these nodes the members, from a placement that all nodes hold.
pub(crate) async fn reshape(ring: &Ring, from: &Placement, members: &[Node]) -> Result<Reshaped> {
    let until = Instant::now() + REACHED_WITHIN;
    let (mut placement, mut moves) = (from.clone(), 0);
    loop {
        let evidence = evidence(ring, &placement).await;
        match next(&placement, members, &evidence)? {
            Round::Settled => return Ok(Reshaped { placement, moves }),
            Round::Next(next) => {
                let begun = |id| placement.moves().iter().all(|it| it.id != id);
                moves += next.moves().iter().filter(|it| begun(it.id)).count();
                install(ring, &next).await?;
                placement = *next;
            }
            Round::Waits(waits) if Instant::now() > until => {
                let waits: Vec<_> = waits.iter().map(ToString::to_string).collect();
                let waits = waits.join("; ");
                bail!("the ring is not as desired after {REACHED_WITHIN:?}: {waits}")
            }
            Round::Waits(_) => sleep(LOOK_EVERY).await,
        }
    }
}

fn next(placement: &Placement, members: &[Node], evidence: &Evidence) -> Result<Round> {
    let desired = Desired {
        nodes: members,
        replication_factor: placement.replication_factor(),
        gone: &BTreeSet::new(),
        away: &BTreeSet::new(),
    };
    let rules = Rules::of_majorities(placement);
    let bounds = (rules, MoveLimits::default());
    round(placement, &desired, evidence, bounds).context("decide on the next epoch")
}

/// What the members say; one that does not answer says nothing.
async fn evidence(ring: &Ring, placement: &Placement) -> Evidence {
    let asked = placement.nodes().iter().map(|node| async {
        let moves = admin::moves(&node.addresses.admin).await;
        if let Err(error) = &moves {
            ring.note(&format!(
                "{} does not report its moves: {error:#}",
                node.name
            ));
        }
        let (acked, moves) = moves.ok()?;
        let report = NodeReport {
            standing: Standing::Alive,
            acked,
            moves,
        };
        Some((node.id, report))
    });
    Evidence(join_all(asked).await.into_iter().flatten().collect())
}

async fn install(ring: &Ring, placement: &Placement) -> Result<()> {
    let nodes =
        (0..ring.size()).map(|node| admin::install(&ring.site.addresses(node).admin, placement));
    try_join_all(nodes).await?;
    Ok(())
}
