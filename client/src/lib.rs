//! Annulus client.
