//! How nodes of tests fill copies from each other: what they rebuild, and their part in moves.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::entropy::SeededRandomness;
use crate::keyspace::Keyspaces;
use crate::moves::{MoveMetrics, MoveOptions, MovePace, Moves, MovesParts};
use crate::overload::Overload;
use crate::peer::Peers;
use crate::placement::PlacementStore;
use crate::rebuild::{RebuildMetrics, RebuildOptions, Rebuilder, RebuilderParts};
use crate::replica::Replica;

/// Rebuilding: at once.
const REBUILD: RebuildOptions = RebuildOptions {
    bytes_per_second: 1 << 30,
    page_bytes: 1 << 20,
    retry: Duration::from_millis(5),
    longest_request: Duration::from_millis(100),
    most_damaged: 3,
};

/// Moves: in pages of a few keys.
const MOVES: MoveOptions = MoveOptions {
    streams: 2,
    page_bytes: 300,
    retry: Duration::from_millis(5),
    confirm_after: Duration::from_millis(20),
    longest_request: Duration::from_millis(100),
};

/// A node's parts that take part.
pub(super) struct Filling<'a> {
    pub(super) replica: &'a Replica,
    pub(super) peers: &'a Peers,
    pub(super) placement: &'a PlacementStore,
    pub(super) keyspaces: &'a Arc<Keyspaces>,
    pub(super) overload: Overload,
    pub(super) clock: &'a Arc<dyn Clock>,
}

impl Filling<'_> {
    /// Begins to rebuild; the part in moves, which runs when a test says so.
    pub(super) fn start(self, seed: u64) -> Moves {
        let rebuilder = Rebuilder::new(RebuilderParts {
            replica: self.replica.clone(),
            peers: self.peers.clone(),
            placement: self.placement.clone(),
            keyspaces: self.keyspaces.clone(),
            overload: self.overload.clone(),
            clock: self.clock.clone(),
            randomness: Arc::new(SeededRandomness::new(seed)),
            options: REBUILD,
            metrics: RebuildMetrics::default(),
        });
        tokio::spawn(rebuilder.run());
        let (metrics, clock) = (MoveMetrics::default(), self.clock.clone());
        let pace = MovePace::new(
            1 << 30,
            MOVES.streams,
            self.overload,
            clock,
            metrics.clone(),
        );
        Moves::new(MovesParts {
            placement: self.placement.clone(),
            replica: self.replica.clone(),
            peers: self.peers.clone(),
            keyspaces: self.keyspaces.clone(),
            pace,
            clock: self.clock.clone(),
            options: MOVES,
            metrics,
        })
    }
}
