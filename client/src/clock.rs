//! The only place of this library that reads the clock or draws random numbers.

use tokio::time::Instant;

/// Now, on the runtime's clock (which a test may pause).
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A random number that is not 0.
#[expect(
    clippy::disallowed_methods,
    reason = "the place where randomness enters this library"
)]
pub(crate) fn random_id() -> u64 {
    use rand::Rng;
    rand::rng().random_range(1..=u64::MAX)
}

/// A random number of [0, 1).
#[expect(
    clippy::disallowed_methods,
    reason = "the place where randomness enters this library"
)]
pub(crate) fn random_unit() -> f64 {
    use rand::Rng;
    rand::rng().random()
}
