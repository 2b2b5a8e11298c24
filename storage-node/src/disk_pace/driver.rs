//! Asks others how their disks are, and looks at this node's own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use annulus_ring::{NodeId, Placement};
use futures::stream::{self, StreamExt as _};
use tokio::time::sleep;

use super::comparison::Comparison;
use super::standing::{DiskStanding, Known};
use super::{DiskReport, SlowDiskRules};
use crate::clock::Clock;
use crate::entropy::Randomness;
use crate::membership::MembershipView;
use crate::peer::Peers;
use crate::placement::PlacementStore;
use crate::replica::Replica;

/// Others asked in one round: of a larger ring they are drawn by lot each time, and stand for all.
const ASKED_AT_MOST: usize = 16;

/// How long one may take to say how its disk is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What a comparer is made of.
#[derive(Debug)]
pub(crate) struct ComparerParts {
    /// This node's copies, with the meter of its disk.
    pub(crate) replica: Replica,
    /// The other nodes.
    pub(crate) peers: Peers,
    /// Which of them are down.
    pub(crate) membership: MembershipView,
    /// Who there is.
    pub(crate) placement: PlacementStore,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Randomness.
    pub(crate) randomness: Arc<dyn Randomness>,
    /// When a disk is slow.
    pub(crate) rules: SlowDiskRules,
    /// Where the conclusion goes.
    pub(crate) standing: DiskStanding,
}

/// Compares this node's disk with the others'.
#[derive(Debug)]
pub(crate) struct Comparer {
    parts: ComparerParts,
    comparison: Comparison,
}

impl Comparer {
    /// A comparer made of these parts.
    pub(crate) fn new(parts: ComparerParts) -> Self {
        let comparison = Comparison::new(parts.rules);
        Self { parts, comparison }
    }

    /// Works until it is dropped, which is safe at any moment.
    pub(crate) async fn run(mut self) {
        loop {
            sleep(self.parts.rules.every).await; // paced: figures of the last minute
            if let Some(placement) = self.parts.placement.current() {
                self.ask(&placement).await;
            }
            self.judge();
        }
    }

    async fn ask(&mut self, placement: &Placement) {
        let own = self.parts.placement.node();
        let nodes = placement.nodes().iter().map(|node| node.id);
        let others: Vec<NodeId> = nodes.filter(|node| *node != own).collect();
        self.comparison.keep(&others, self.parts.clock.now());
        let (peers, epoch) = (&self.parts.peers, placement.epoch());
        let deadline = self.parts.clock.now() + ANSWER_TIMEOUT;
        let asked = self.draw(others).into_iter().map(|node| async move {
            let said = peers.disk_report(node, epoch, deadline).await;
            (node, said)
        });
        let mut answers = stream::iter(asked).buffer_unordered(ASKED_AT_MOST);
        while let Some((node, said)) = answers.next().await {
            match said {
                Ok(report) => {
                    let now = self.parts.clock.now();
                    self.comparison.heard(node, report, now);
                }
                Err(failure) => tracing::debug!(%node, %failure, "nothing heard of its disk"),
            }
        }
    }

    /// Some of those that are not down.
    fn draw(&self, mut others: Vec<NodeId>) -> Vec<NodeId> {
        others.retain(|node| !self.parts.membership.is_down(*node));
        let mut drawn = Vec::new();
        while drawn.len() < ASKED_AT_MOST && !others.is_empty() {
            let lot = self.parts.randomness.u64() % others.len() as u64;
            drawn.push(others.swap_remove(usize::try_from(lot).expect("below a length")));
        }
        drawn
    }

    fn judge(&mut self) {
        let now = self.parts.clock.now();
        let pace = self.parts.replica.disk_pace(now);
        let was_slow = self.parts.standing.own().is_slow;
        let is_slow = self.comparison.judge(pace, now);
        if is_slow && !was_slow {
            tracing::warn!(?pace, "this node's disk is slow beside the others'");
        } else if was_slow && !is_slow {
            tracing::info!(?pace, "this node's disk is as fast as the others' again");
        }
        let slow_others: BTreeSet<_> = self.comparison.slow_others().collect();
        let own = DiskReport { pace, is_slow };
        self.parts.standing.set(Known { own, slow_others });
    }
}
