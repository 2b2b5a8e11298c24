//! What looks after the copies while nobody asks: the delivery of hints, comparisons with other owners, scrubs,
//! rebuilding, the reaping of deleted keys, and a look at how slow the disk is.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::time::sleep;

use super::Background;
use super::data::Data;
use crate::antientropy::{
    AntiEntropy, AntiEntropyMetrics, AntiEntropyParts, Scrub, ScrubMetrics, ScrubParts,
};
use crate::clock::Clock;
use crate::config::Config;
use crate::disk_pace::{Comparer, ComparerParts, DiskStanding};
use crate::entropy::Randomness;
use crate::hints::{Replayer, ReplayerParts};
use crate::keyspace::Keyspaces;
use crate::membership::MembershipView;
use crate::moves::{MoveMetrics, MovePace, Moves, MovesParts};
use crate::peer::Peers;
use crate::reaping::{Reaper, ReaperParts, ReapingMetrics, ReapingStatus};
use crate::rebuild::{RebuildMetrics, Rebuilder, RebuilderParts};
use crate::storage::lost_database;

/// How often it is seen whether a database that was set aside may go.
const DAMAGED_LOOKED_AT_EVERY: Duration = Duration::from_secs(3600);

/// What it is built from.
pub(super) struct Upkeep<'a> {
    pub(super) config: &'a Config,
    pub(super) data: &'a Data,
    pub(super) keyspaces: &'a Arc<Keyspaces>,
    pub(super) peers: &'a Peers,
    pub(super) membership: &'a MembershipView,
    pub(super) disks: &'a DiskStanding,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) randomness: &'a Arc<dyn Randomness>,
}

impl Upkeep<'_> {
    /// Starts it; it ends with the background's links.
    pub(super) fn start(&self, background: &Background, registry: &mut Registry) -> AntiEntropy {
        self.deliver_hints(background);
        background.until_stopped(self.rebuilder(registry).run());
        background.until_stopped(self.comparer().run());
        self.remove_damaged_databases(background);
        let settings = &self.config.anti_entropy;
        let anti_entropy = AntiEntropy::new(AntiEntropyParts {
            settings: settings.settings(),
            placement: self.data.placement.clone(),
            keyspaces: self.keyspaces.clone(),
            replica: self.data.replica.clone(),
            peers: self.peers.clone(),
            membership: self.membership.clone(),
            hints: self.data.hints.clone(),
            overload: self.data.overload.clone(),
            clock: self.clock.clone(),
            randomness: self.randomness.clone(),
            metrics: AntiEntropyMetrics::default(),
        });
        anti_entropy.register(registry);
        let metrics = ScrubMetrics::default();
        metrics.register(registry);
        let scrub = Scrub::new(ScrubParts {
            settings: settings.scrub(),
            placement: self.data.placement.clone(),
            replica: self.data.replica.clone(),
            anti_entropy: anti_entropy.clone(),
            overload: self.data.overload.clone(),
            clock: self.clock.clone(),
            randomness: self.randomness.clone(),
            metrics,
        });
        let Background { links, stop, .. } = background;
        links.spawn(anti_entropy.clone().run(stop.clone()));
        links.spawn(scrub.run(stop.clone()));
        anti_entropy
    }

    /// Forgets deleted keys; it ends with the background's links.
    pub(super) fn reap(&self, background: &Background, registry: &mut Registry) -> ReapingStatus {
        let (status, metrics) = (ReapingStatus::default(), ReapingMetrics::default());
        metrics.register(registry);
        let reaper = Reaper::new(ReaperParts {
            placement: self.data.placement.clone(),
            keyspaces: self.keyspaces.clone(),
            replica: self.data.replica.clone(),
            peers: self.peers.clone(),
            membership: self.membership.clone(),
            hints: self.data.hints.clone(),
            overload: self.data.overload.clone(),
            clock: self.clock.clone(),
            pace: self.config.reaping.pace(&self.config.limits),
            status: status.clone(),
            metrics,
        });
        background.links.spawn(reaper.run(background.stop.clone()));
        status
    }

    /// This node's part in moves; it ends with the background's links.
    pub(super) fn moves(&self, background: &Background, registry: &mut Registry) -> Moves {
        let metrics = MoveMetrics::default();
        metrics.register(registry);
        let (config, overload) = (&self.config.moves, self.data.overload.clone());
        let (rate, streams, clock) = (config.bytes_per_second, config.streams, self.clock.clone());
        let moves = Moves::new(MovesParts {
            placement: self.data.placement.clone(),
            replica: self.data.replica.clone(),
            peers: self.peers.clone(),
            keyspaces: self.keyspaces.clone(),
            pace: MovePace::new(rate, streams, overload, clock, metrics.clone()),
            clock: self.clock.clone(),
            options: config.options(&self.config.anti_entropy, &self.config.limits),
            metrics,
        });
        let Background { links, stop, .. } = background;
        links.spawn(moves.clone().run(stop.clone()));
        moves
    }

    fn deliver_hints(&self, background: &Background) {
        let replayer = Replayer::new(ReplayerParts {
            hints: self.data.hints.clone(),
            peers: self.peers.clone(),
            membership: self.membership.clone(),
            placement: self.data.placement.clone(),
            clock: self.clock.clone(),
            randomness: self.randomness.clone(),
            tasks: background.links.clone(),
            stop: background.stop.clone(),
        });
        replayer.start();
    }

    /// What fills copies that lost their data.
    fn rebuilder(&self, registry: &mut Registry) -> Rebuilder {
        let metrics = RebuildMetrics::default();
        metrics.register(registry);
        let longest_request = self.config.limits.max_request_timeout;
        Rebuilder::new(RebuilderParts {
            replica: self.data.replica.clone(),
            peers: self.peers.clone(),
            placement: self.data.placement.clone(),
            keyspaces: self.keyspaces.clone(),
            overload: self.data.overload.clone(),
            clock: self.clock.clone(),
            randomness: self.randomness.clone(),
            options: self.config.storage.rebuild_options(longest_request),
            metrics,
        })
    }

    /// Databases that were set aside go in the end, once nothing could be wanted back from them.
    fn remove_damaged_databases(&self, background: &Background) {
        let Some(dir) = self.data.dir.clone() else {
            return;
        };
        let (replica, clock) = (self.data.replica.clone(), self.clock.clone());
        let keep = self.config.storage.rebuild.keep_damaged;
        background.until_stopped(async move {
            loop {
                if !replica.has_unsound() {
                    let (dir, now_ms) = (dir.clone(), clock.wall_ms());
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "files are removed; simulations replace whole disks"
                    )]
                    let removing = tokio::task::spawn_blocking(move || {
                        lost_database::remove_older(dir.path(), now_ms, keep)
                    });
                    if let Ok(Err(error)) = removing.await {
                        tracing::warn!(%error, "a database that was set aside could not be removed");
                    }
                }
                sleep(DAMAGED_LOOKED_AT_EVERY).await; // paced: files get old slowly
            }
        });
    }

    /// What finds out whether this node's disk is slow.
    fn comparer(&self) -> Comparer {
        Comparer::new(ComparerParts {
            replica: self.data.replica.clone(),
            peers: self.peers.clone(),
            membership: self.membership.clone(),
            placement: self.data.placement.clone(),
            clock: self.clock.clone(),
            randomness: self.randomness.clone(),
            rules: self.config.storage.slow_disk.rules(),
            standing: self.disks.clone(),
        })
    }
}
