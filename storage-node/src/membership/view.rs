//! The belief about the other nodes, as the rest of the node asks for it: a lookup, without a lock
//! that anybody holds for long and without allocation.
//!
//! Invariant: a node of which nothing is known is [`Liveness::Alive`], so a new placement's nodes are
//! asked before anybody has gossiped about them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use annulus_ring::NodeId;
use arc_swap::ArcSwap;

use crate::watched::Watched;

/// What is believed of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Liveness {
    /// It answers, or nothing is known of it.
    #[default]
    Alive,
    /// Some node got no answer from it. It is still written to, and read from when others don't do.
    Suspect,
    /// It did not contradict the suspicion in time. Asking it is a waste of time.
    Down,
}

/// The belief about all nodes. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct MembershipView(Arc<Inner>);

struct Inner {
    nodes: ArcSwap<HashMap<NodeId, Arc<AtomicU8>>>,
    changes: Watched<u64>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            nodes: ArcSwap::default(),
            changes: Watched::new(0),
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MembershipView")
            .field("nodes", &self.nodes.load().len())
            .finish_non_exhaustive()
    }
}

impl MembershipView {
    /// What is believed of a node; [`Liveness::Alive`] when nothing is known.
    pub(crate) fn liveness(&self, node: NodeId) -> Liveness {
        let nodes = self.0.nodes.load();
        nodes
            .get(&node)
            .map_or(Liveness::Alive, |seen| decode(seen.load(Ordering::Acquire)))
    }

    /// Whether it would be a waste of time to ask the node.
    pub(crate) fn is_down(&self, node: NodeId) -> bool {
        self.liveness(node) == Liveness::Down
    }

    /// A counter that moves whenever any node's liveness changes.
    pub(crate) fn changes(&self) -> u64 {
        self.0.changes.get()
    }

    /// Waits until that counter is another one than was seen. Who waits is woken in the order of coming.
    pub(crate) async fn changed_since(&self, seen: u64) {
        self.0.changes.wait_for(|count| count != seen).await;
    }

    /// Forgets all others: the placement has no other nodes any more. One writer at a time.
    pub(super) fn set_members(&self, members: &[NodeId]) {
        let known = self.0.nodes.load_full();
        let keep = |node: &NodeId| (*node, known.get(node).cloned().unwrap_or_default());
        self.0
            .nodes
            .store(Arc::new(members.iter().map(keep).collect()));
    }

    /// Notes the belief about one member. Others are nobody's concern.
    pub(super) fn set_liveness(&self, node: NodeId, liveness: Liveness) {
        let nodes = self.0.nodes.load();
        let Some(seen) = nodes.get(&node) else {
            return;
        };
        let before = seen.swap(encode(liveness), Ordering::AcqRel);
        if before != encode(liveness) {
            self.0.changes.set(self.0.changes.get() + 1);
        }
    }

    /// Believes something of a node that nobody has gossiped about.
    #[cfg(test)]
    pub(crate) fn assume(&self, node: NodeId, liveness: Liveness) {
        let mut members: Vec<_> = self.0.nodes.load().keys().copied().collect();
        members.push(node);
        self.set_members(&members);
        self.set_liveness(node, liveness);
    }
}

fn encode(liveness: Liveness) -> u8 {
    liveness as u8
}

fn decode(byte: u8) -> Liveness {
    match byte {
        0 => Liveness::Alive,
        1 => Liveness::Suspect,
        _ => Liveness::Down,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    #[test]
    fn a_node_of_which_nothing_is_known_is_alive() {
        let view = MembershipView::default();
        assert_eq!(view.liveness(node(1)), Liveness::Alive);
    }

    #[test]
    fn a_change_is_told_once_and_a_stranger_is_not_noted() {
        let view = MembershipView::default();
        let before = view.changes();
        view.set_members(&[node(1), node(2)]);
        view.set_liveness(node(1), Liveness::Down);
        let after = view.changes();
        assert_ne!(before, after);
        view.set_liveness(node(1), Liveness::Down);
        view.set_liveness(node(3), Liveness::Down);
        assert_eq!(view.changes(), after);
        assert!(view.clone().is_down(node(1)));
        assert!(!view.is_down(node(3)));
    }

    #[test]
    fn who_leaves_the_placement_is_forgotten_and_who_stays_is_not() {
        let view = MembershipView::default();
        view.set_members(&[node(1), node(2)]);
        view.set_liveness(node(1), Liveness::Down);
        view.set_liveness(node(2), Liveness::Suspect);
        view.set_members(&[node(2), node(3)]);
        assert_eq!(view.liveness(node(1)), Liveness::Alive);
        assert_eq!(view.liveness(node(2)), Liveness::Suspect);
    }
}
