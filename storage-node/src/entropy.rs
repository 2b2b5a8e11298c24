//! Randomness, as the node is told it.
//!
//! Owns: the one place that asks the system for random numbers. Everything else is handed an
//! `Arc<dyn Randomness>`, so that a test or a simulation repeats itself from a seed.

use std::fmt;

/// Gives random numbers.
pub trait Randomness: fmt::Debug + Send + Sync + 'static {
    /// A number of which all 64 bits are random.
    fn u64(&self) -> u64;

    /// A number from 0 to 1.
    fn fraction(&self) -> f64 {
        self.u64() as f64 / u64::MAX as f64
    }
}

/// The thread's cryptographic generator, seeded by the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the system"
    )]
    fn u64(&self) -> u64 {
        use rand::RngCore as _;
        rand::rng().next_u64()
    }
}

/// Repeats itself from a seed.
#[cfg(test)]
pub(crate) struct SeededRandomness(parking_lot::Mutex<rand::rngs::StdRng>);

#[cfg(test)]
impl SeededRandomness {
    pub(crate) fn new(seed: u64) -> Self {
        use rand::SeedableRng as _;
        Self(parking_lot::Mutex::new(rand::rngs::StdRng::seed_from_u64(
            seed,
        )))
    }
}

#[cfg(test)]
impl fmt::Debug for SeededRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeededRandomness").finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Randomness for SeededRandomness {
    fn u64(&self) -> u64 {
        use rand::RngCore as _;
        self.0.lock().next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| {
            let source = SeededRandomness::new(seed);
            [source.u64(), source.u64(), source.u64()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
