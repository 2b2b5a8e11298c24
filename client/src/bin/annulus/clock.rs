//! The only place of this command that reads the clock or draws random numbers.

use rand::RngCore;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

/// Now, on the runtime's clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A generator with a random seed.
#[expect(
    clippy::disallowed_methods,
    reason = "the place where randomness enters this command"
)]
pub(crate) fn random() -> StdRng {
    StdRng::seed_from_u64(rand::rng().next_u64())
}

/// Random bytes that nobody can guess.
#[expect(
    clippy::disallowed_methods,
    reason = "the place where randomness enters this command"
)]
pub(crate) fn random_secret() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}
