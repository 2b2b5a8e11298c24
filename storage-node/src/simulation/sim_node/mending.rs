//! What mends a simulated node's copies and looks after its disk: the real thing, at a simulation's pace.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use annulus_ring::NodeId;

use super::SimNode;
use crate::disk_pace::{Comparer, ComparerParts, DiskStanding, SlowDiskRules};
use crate::entropy::Randomness;
use crate::hints::Hints;
use crate::membership::MembershipView;
use crate::moves::{MoveMetrics, MoveOptions, MovePace, Moves, MovesParts};
use crate::peer::Peers;
use crate::placement::PlacementStore;
use crate::reaping::{ReaperParts, ReapingMetrics, ReapingStatus};
use crate::rebuild::{RebuildMetrics, RebuildOptions, Rebuilder, RebuilderParts};
use crate::replica::Replica;
use crate::simulation::reclaiming;

/// How simulated nodes rebuild their copies: quickly, and with pages so small that a copy takes several.
const REBUILD: RebuildOptions = RebuildOptions {
    bytes_per_second: 1 << 20,
    page_bytes: 200,
    retry: Duration::from_millis(400),
    longest_request: Duration::from_secs(3),
    most_damaged: 3,
};

/// How simulated nodes move partitions: with pages so small that a copy takes several.
const MOVES: MoveOptions = MoveOptions {
    streams: 2,
    page_bytes: 200,
    retry: Duration::from_millis(400),
    confirm_after: Duration::from_millis(500),
    longest_request: Duration::from_secs(3),
};

/// Bytes a second.
const MOVE_RATE: u64 = 1 << 20;

/// How simulated nodes find out that their disk is slow: by the usual rules, looking more often.
const SLOW_DISKS: SlowDiskRules = SlowDiskRules {
    factor: 10,
    at_least: Duration::from_millis(10),
    lasting: Duration::from_secs(20),
    every: Duration::from_secs(2),
};

impl SimNode {
    pub(super) fn rebuilder(
        &self,
        (replica, peers, placement): (&Replica, &Peers, &PlacementStore),
        randomness: Arc<dyn Randomness>,
    ) -> Rebuilder {
        Rebuilder::new(RebuilderParts {
            replica: replica.clone(),
            peers: peers.clone(),
            placement: placement.clone(),
            keyspaces: self.keyspaces.clone(),
            overload: self.no_overload(),
            clock: self.clock.clone(),
            randomness,
            options: REBUILD,
            metrics: RebuildMetrics::default(),
        })
    }

    /// What forgets deleted keys, once the node is open.
    pub(super) fn reaper(
        &self,
        (replica, peers, placement): (&Replica, &Peers, &PlacementStore),
        membership: MembershipView,
        hints: Hints,
    ) -> ReaperParts {
        ReaperParts {
            placement: placement.clone(),
            keyspaces: self.keyspaces.clone(),
            replica: replica.clone(),
            peers: peers.clone(),
            membership,
            hints,
            overload: self.no_overload(),
            clock: self.clock.clone(),
            pace: reclaiming::pace(),
            status: ReapingStatus::default(),
            metrics: ReapingMetrics::default(),
        }
    }

    pub(super) fn moves(
        &self,
        (replica, peers, placement): (&Replica, &Peers, &PlacementStore),
    ) -> Moves {
        let (metrics, overload) = (MoveMetrics::default(), self.no_overload());
        let (streams, clock) = (MOVES.streams, self.clock.clone());
        Moves::new(MovesParts {
            replica: replica.clone(),
            peers: peers.clone(),
            placement: placement.clone(),
            keyspaces: self.keyspaces.clone(),
            pace: MovePace::new(MOVE_RATE, streams, overload, clock, metrics.clone()),
            clock: self.clock.clone(),
            options: MOVES,
            metrics,
        })
    }

    pub(super) fn comparer(
        &self,
        (replica, peers, placement): (&Replica, &Peers, &PlacementStore),
        randomness: Arc<dyn Randomness>,
        membership: MembershipView,
        standing: DiskStanding,
    ) -> Comparer {
        Comparer::new(ComparerParts {
            replica: replica.clone(),
            peers: peers.clone(),
            membership,
            placement: placement.clone(),
            clock: self.clock.clone(),
            randomness,
            rules: SLOW_DISKS,
            standing,
        })
    }

    /// Whether it finds its disk slow.
    pub fn finds_its_disk_slow(&self) -> bool {
        let running = self.running.lock();
        running
            .as_ref()
            .is_some_and(|running| running.disks.own().is_slow)
    }

    /// The other nodes that it takes to have slow disks.
    pub fn slow_others(&self) -> BTreeSet<NodeId> {
        let running = self.running.lock();
        let disks = running.as_ref().map(|running| running.disks.slow_others());
        disks.unwrap_or_default()
    }
}
