//! Annulus ring.
