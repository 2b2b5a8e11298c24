//! Annulus operator.
