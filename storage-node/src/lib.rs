//! Annulus storage-node.
