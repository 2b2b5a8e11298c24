//! Annulus e2e.
