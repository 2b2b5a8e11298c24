//! Placements for tests.

use std::path::Path;

use annulus_ring::{NodeId, Placement};
use uuid::Uuid;

use super::founding::found_ring;
use super::layout::Layout;

/// A local ring of so many nodes in three zones, with ids 1, 2, …
pub(crate) fn founded(nodes: u16) -> Placement {
    founded_in(nodes, 3)
}

/// The same in so many zones.
pub(crate) fn founded_in(nodes: u16, zones: u16) -> Placement {
    let layout = Layout::new(Path::new("/d"), 9600, nodes).unwrap();
    let ids: Vec<NodeId> = (1..=nodes)
        .map(|id| NodeId(Uuid::from_u128(id.into())))
        .collect();
    found_ring(&layout, Uuid::from_u128(9), 7, zones, &ids).unwrap()
}
