//! Figures of moves.

use std::collections::BTreeMap;

use annulus_ring::{NodeIndex, Placement, Stage};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

/// Figures of moves. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct MoveMetrics {
    by_stage: Family<StageLabels, Gauge>,
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
    pub(super) bytes_per_second: Gauge,
    /// Keys and bytes of copies that were filled.
    pub(super) filled: (Counter, Counter),
    pub(super) obstacles: Counter,
    pub(super) erased: Counter,
}

impl MoveMetrics {
    /// Registers all of them.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let bytes = Unit::Bytes;
        registry.register(
            "move_stage",
            "Moves that make this node an owner or end that, by their stage",
            self.by_stage.clone(),
        );
        registry.register_with_unit(
            "move_in",
            "Bytes that this node took for moves, comparisons included",
            bytes.clone(),
            self.bytes_in.clone(),
        );
        registry.register_with_unit(
            "move_out",
            "Bytes that this node gave for moves, comparisons included",
            bytes.clone(),
            self.bytes_out.clone(),
        );
        registry.register_with_unit(
            "move_rate_limit",
            "Bytes a second that moves may take in each direction",
            bytes.clone(),
            self.bytes_per_second.clone(),
        );
        registry.register(
            "move_filled_keys",
            "Keys that were taken into copies of joining owners",
            self.filled.0.clone(),
        );
        registry.register_with_unit(
            "move_filled",
            "Bytes of states that were taken into copies of joining owners",
            bytes,
            self.filled.1.clone(),
        );
        registry.register(
            "move_obstacles",
            "Attempts at a move's work that came to nothing",
            self.obstacles.clone(),
        );
        registry.register(
            "move_copies_erased",
            "Copies that were deleted because this node does not hold them any more",
            self.erased.clone(),
        );
    }

    /// Counts the moves that name this node.
    pub(super) fn show(&self, placement: &Placement, own: Option<NodeIndex>) {
        let mut counts: BTreeMap<Stage, i64> = Stage::ALL.map(|stage| (stage, 0)).into();
        let named = |own| move |it: &&annulus_ring::Move| it.names(own);
        for it in own
            .into_iter()
            .flat_map(|own| placement.moves().iter().filter(named(own)))
        {
            *counts.entry(it.stage).or_default() += 1;
        }
        for (stage, count) in counts {
            let stage = stage.name();
            self.by_stage
                .get_or_create(&StageLabels { stage })
                .set(count);
        }
    }
}
