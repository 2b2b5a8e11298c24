//! What a status is made from.

use annulus_ring::RingEpoch;

use crate::membership::{Availability, Moving, Phase, ZoneSpread};
use crate::status::reason::Reason;

/// All that is known of a cluster after a round of the reconcile loop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The `metadata.generation` that was worked on.
    pub(crate) generation: i64,
    /// Why nothing more can be done, with a message.
    pub(crate) stalled: Option<(Reason, String)>,
    /// What failed for the moment.
    pub(crate) retrying: Option<String>,
    /// All nodes that are to exist, by name.
    pub(crate) nodes: Vec<String>,
    /// Those of them that serve.
    pub(crate) ready: Vec<String>,
    /// Those of them that are not in the ring yet.
    pub(crate) joining: Vec<String>,
    /// How the ring changes, if it does.
    pub(crate) moving: Option<Moving>,
    /// The founding's next wait, in words.
    pub(crate) waiting_for: Option<String>,
    /// The ring; none before it is founded.
    pub(crate) ring: Option<RingFacts>,
    /// Disks that are lost or in the wrong place, with a message.
    pub(crate) disks: Vec<(Reason, String)>,
    /// Pods that were built from another spec than the present one.
    pub(crate) outdated: Vec<String>,
    /// What was done that is worth an event.
    pub(crate) events: Vec<(Reason, String)>,
}

/// What is known of the ring.
#[derive(Clone, Debug)]
pub(crate) struct RingFacts {
    /// Version of the placement.
    pub(crate) epoch: RingEpoch,
    /// What the serving nodes can do.
    pub(crate) availability: Availability,
    /// How it is spread.
    pub(crate) spread: ZoneSpread,
    /// Members that are not known to hold this placement.
    pub(crate) pending: Vec<String>,
    /// Members that have not compared all of their copies in time.
    pub(crate) overdue: Vec<String>,
}

impl Facts {
    /// The nodes that do not serve, for a message: at most a handful by name.
    pub(crate) fn missing(&self) -> String {
        let missing: Vec<&str> = self
            .nodes
            .iter()
            .filter(|name| !self.ready.contains(name) && !self.joining.contains(name))
            .map(String::as_str)
            .collect();
        listed(&missing)
    }

    /// Whether all nodes serve that are in the ring, or are to found it.
    pub(crate) fn all_ready(&self) -> bool {
        let mut nodes = self.nodes.iter();
        nodes.all(|name| self.ready.contains(name) || self.joining.contains(name))
    }

    /// Whether data moves: then each look may bring a stage change.
    pub(crate) fn is_moving(&self) -> bool {
        let phase = self.moving.as_ref().map(|moving| moving.phase);
        matches!(phase, Some(Phase::Moving | Phase::Joining))
    }

    /// Whether there is nothing left to do or to wish.
    pub(crate) fn steady(&self) -> bool {
        let settled = self
            .ring
            .as_ref()
            .is_some_and(|ring| ring.pending.is_empty() && ring.availability.below_full == 0);
        settled
            && self.all_ready()
            && self.stalled.is_none()
            && self.retrying.is_none()
            && self.moving.is_none()
            && self.disks.is_empty()
    }
}

/// Names for a message, cut after a few: a status must stay small.
pub(crate) fn listed<T: AsRef<str>>(names: &[T]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    let shown = shown.join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}
