//! Chance that repeats itself from a seed.
//!
//! Each part of a simulation draws from a stream of its own, so that one more draw in one part does
//! not change what all the others draw.

use std::fmt;
use std::ops::Range;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::entropy::Randomness;

/// One stream of draws.
pub struct Chance(Mutex<StdRng>);

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chance").finish_non_exhaustive()
    }
}

impl Chance {
    /// The stream of that name.
    pub fn new(seed: u64, stream: &str) -> Self {
        let seed = xxh3_64_with_seed(stream.as_bytes(), seed);
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// A number of the range.
    pub fn within(&self, range: Range<u64>) -> u64 {
        self.0.lock().random_range(range)
    }

    /// A position in something of that length.
    pub fn index(&self, length: usize) -> usize {
        self.0.lock().random_range(0..length)
    }

    /// True so many times in a thousand.
    pub fn hits(&self, per_mille: u64) -> bool {
        self.within(0..1000) < per_mille
    }
}

impl Randomness for Chance {
    fn u64(&self) -> u64 {
        self.0.lock().next_u64()
    }
}
