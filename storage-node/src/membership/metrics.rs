//! Figures of gossip.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::view::Liveness;

/// Labels of peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabels {
    state: PeerState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "label values as they are printed")]
enum PeerState {
    alive,
    suspect,
    down,
}

/// The figures. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct MembershipMetrics {
    peers: Family<PeerLabels, Gauge>,
    pub(super) messages: Counter,
    pub(super) unanswered: Counter,
    pub(super) bytes: Counter,
    pub(super) accusations: Counter,
    pub(super) declared_down: Counter,
    pub(super) refutations: Counter,
    pub(super) local_health: Gauge,
    pub(super) placement_conflicts: Counter,
    pub(super) refused_reaches: Counter,
}

impl MembershipMetrics {
    /// Names the figures in a registry (whose prefix is `annulus_node`).
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "gossip_peers",
            "Other nodes of the placement by what is believed of them",
            self.peers.clone(),
        );
        registry.register(
            "gossip_local_health",
            "0: this node trusts its observations; up to 8: it gives others nine times as long",
            self.local_health.clone(),
        );
        let counters = [
            (
                "gossip_messages",
                "Messages sent to tell others and to probe them",
                &self.messages,
            ),
            (
                "gossip_messages_unanswered",
                "Messages that no answer came to in time",
                &self.unanswered,
            ),
            (
                "gossip_sent_bytes",
                "Bytes of gossip sent, questions and answers",
                &self.bytes,
            ),
            (
                "gossip_accusations",
                "Suspicions that this node raised or joined",
                &self.accusations,
            ),
            (
                "gossip_declared_down",
                "Suspicions that nobody contradicted in time here",
                &self.declared_down,
            ),
            (
                "gossip_refutations",
                "Accusations of this node that it contradicted",
                &self.refutations,
            ),
            (
                "gossip_placement_conflicts",
                "Nodes met that hold another placement of the same epoch",
                &self.placement_conflicts,
            ),
            (
                "gossip_reaches_refused",
                "Requests to reach another node that came when too many were under way",
                &self.refused_reaches,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }

    pub(super) fn count_peers(&self, beliefs: impl Iterator<Item = Liveness>) {
        let mut counts = [0_i64; 3];
        for liveness in beliefs {
            counts[liveness as usize] += 1;
        }
        let states = [PeerState::alive, PeerState::suspect, PeerState::down];
        for (state, count) in states.into_iter().zip(counts) {
            self.peers.get_or_create(&PeerLabels { state }).set(count);
        }
    }
}
