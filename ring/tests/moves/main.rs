//! Moves as laws: whatever is desired and whoever dies, they end as desired; requests of adjacent
//! epochs meet or are fenced; and the largest ring is planned fast.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod cluster;
mod exhaustive;
mod model;
mod progress;
mod scale;
