//! Annulus causality.
