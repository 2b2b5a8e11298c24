//! The placement as this client knows it: possibly behind, refreshed when an answer shows a newer
//! epoch. Being behind costs a hop, never correctness: every node coordinates every key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annulus_ring::Placement;
use arc_swap::ArcSwapOption;

use crate::route::Address;

/// Nodes of the placement that are kept as fallbacks beside the owners and the given endpoints.
const FALLBACK_NODES: usize = 16;

/// The placement and what routing needs of it, made once per epoch.
pub(crate) struct RingView {
    known: ArcSwapOption<Known>,
    newest_seen: AtomicU64,
    endpoints: Vec<Address>,
}

struct Known {
    placement: Arc<Placement>,
    /// Client addresses by node index.
    addresses: Vec<Address>,
    /// The given endpoints, then some nodes.
    fallbacks: Vec<Address>,
}

impl RingView {
    /// Nothing known but where to ask.
    pub(crate) fn new(endpoints: Vec<Address>) -> Self {
        Self {
            known: ArcSwapOption::empty(),
            newest_seen: AtomicU64::new(0),
            endpoints,
        }
    }

    /// Takes a placement unless a newer one is known.
    pub(crate) fn learn(&self, placement: Placement) {
        self.see_epoch(placement.epoch().0);
        let known = Arc::new(Known::new(placement, &self.endpoints));
        self.known.rcu(|current| match current {
            Some(current) if current.placement.epoch() >= known.placement.epoch() => {
                Some(Arc::clone(current))
            }
            _ => Some(Arc::clone(&known)),
        });
    }

    /// The placement, if one is known.
    pub(crate) fn placement(&self) -> Option<Arc<Placement>> {
        self.known
            .load()
            .as_ref()
            .map(|known| Arc::clone(&known.placement))
    }

    /// The known epoch; 0 for none.
    pub(crate) fn epoch(&self) -> u64 {
        self.known
            .load()
            .as_ref()
            .map_or(0, |known| known.placement.epoch().0)
    }

    /// An answer came from a node at this epoch.
    pub(crate) fn see_epoch(&self, epoch: u64) {
        self.newest_seen.fetch_max(epoch, Ordering::Relaxed);
    }

    /// Whether some node is known to hold a newer placement.
    pub(crate) fn is_behind(&self) -> bool {
        self.newest_seen.load(Ordering::Relaxed) > self.epoch()
    }

    /// The key's owners in preference order (none while no placement is known), and other nodes
    /// that coordinate.
    pub(crate) fn candidates(&self, keyspace: &str, key: &[u8]) -> (Vec<Address>, Vec<Address>) {
        let known = self.known.load();
        let Some(known) = known.as_ref() else {
            return (Vec::new(), self.endpoints.clone());
        };
        let (_, owners) = known.placement.locate(keyspace, key);
        let address =
            |owner: &annulus_ring::NodeIndex| known.addresses[usize::from(owner.0)].clone();
        (
            owners.iter().map(address).collect(),
            known.fallbacks.clone(),
        )
    }

    /// The given endpoints.
    pub(crate) fn endpoints(&self) -> &[Address] {
        &self.endpoints
    }
}

impl Known {
    fn new(placement: Placement, endpoints: &[Address]) -> Self {
        let addresses: Vec<Address> = placement
            .nodes()
            .iter()
            .map(|node| Address::from(node.addresses.grpc.as_str()))
            .collect();
        let mut fallbacks = endpoints.to_vec();
        fallbacks.extend(addresses.iter().take(FALLBACK_NODES).cloned());
        Self {
            placement: Arc::new(placement),
            addresses,
            fallbacks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::placement;

    #[test]
    fn without_a_placement_the_endpoints_are_all_there_is() {
        let view = RingView::new(vec!["here:1".into()]);
        assert_eq!(view.candidates("kv", b"k"), (vec![], vec!["here:1".into()]));
        assert!(!view.is_behind());
    }

    #[test]
    fn owners_come_in_the_placement_s_order() {
        let view = RingView::new(vec![]);
        let placement = placement(5, 1);
        view.learn(placement.clone());
        let (owners, _) = view.candidates("kv", b"k");
        let expected: Vec<_> = placement
            .locate("kv", b"k")
            .1
            .iter()
            .map(|owner| Address::from(placement.node(*owner).addresses.grpc.as_str()))
            .collect();
        assert_eq!(owners, expected);
    }

    #[test]
    fn an_older_placement_never_replaces_a_newer_one() {
        let view = RingView::new(vec![]);
        view.learn(placement(3, 2));
        view.learn(placement(3, 1));
        assert_eq!(view.epoch(), 2);
    }

    #[test]
    fn a_newer_epoch_in_an_answer_shows_that_the_view_is_behind() {
        let view = RingView::new(vec![]);
        view.learn(placement(3, 1));
        assert!(!view.is_behind());
        view.see_epoch(2);
        assert!(view.is_behind());
        view.learn(placement(3, 2));
        assert!(!view.is_behind());
    }
}
