//! Real randomness: the only place that draws it.

use rand::RngCore;

/// 32 random bytes, fit for secrets: from a generator seeded by the operating system.
#[expect(
    clippy::disallowed_methods,
    reason = "this file is the source of randomness"
)]
pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}
